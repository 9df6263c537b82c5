"""Convert a run's interrupts to forms for the client's user, and read the answers.

A form only has top-level fields of plain types. If an interrupt's `response_schema`
fits, the form is built from it. For requests of LangChain's human-in-the-loop
middleware, the form asks for a decision about each action. Any other interrupt gets one
text field.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.conf import settings
from django.core import signing

STATE_SALT = "spool.mcp.request_state"
ANSWER = "response"
# The decisions that need no more than a choice and a text.
DECISIONS = ("approve", "reject", "respond")
# JSON schema keywords that MCP allows in a form's fields, by the field's type.
_OF_ALL = {"type", "title", "description", "default"}
_OF_NUMBERS = _OF_ALL | {"minimum", "maximum"}
FIELD_KEYS = {
    "string": _OF_ALL
    | {"enum", "enumNames", "oneOf", "format", "minLength", "maxLength"},
    "number": _OF_NUMBERS,
    "integer": _OF_NUMBERS,
    "boolean": _OF_ALL,
    "array": _OF_ALL | {"items", "minItems", "maxItems"},
}

Content = Mapping[str, Any]


class StaleState(ValueError):
    """A `requestState` that has expired, or that this server has not signed."""


@dataclass(frozen=True)
class Question:
    """An open interrupt as a form; `read` converts a form's content to an answer."""

    interrupt_id: str
    message: str
    schema: dict[str, Any]
    read: Callable[[Content], Any]


@dataclass(frozen=True)
class RequestState:
    """What a client sends back with its answers: the thread and its interrupts."""

    thread_id: UUID
    assistant_id: UUID
    interrupt_ids: tuple[str, ...]


def question(interrupt: Mapping[str, Any]) -> Question:
    """The form for `interrupt`, which is one of a thread's `interrupts`."""
    value, schema = interrupt["value"], interrupt.get("response_schema")
    message = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    schema_and_reader = (
        _of_schema(schema) or _of_actions(value) or (_form(_TEXT), _read_text)
    )
    return Question(str(interrupt["id"]), message, *schema_and_reader)


def sign(state: RequestState) -> str:
    given = [state.thread_id.hex, state.assistant_id.hex, *state.interrupt_ids]
    return signing.dumps(given, salt=STATE_SALT, compress=True)


def unsign(text: str) -> RequestState:
    """Parse a signed state. Raises `StaleState`."""
    age = timedelta(minutes=settings.MCP_INTERRUPT_TTL_MINUTES)
    try:
        thread, assistant, *ids = signing.loads(text, salt=STATE_SALT, max_age=age)
    except signing.BadSignature as exc:
        raise StaleState(str(exc)) from None
    return RequestState(UUID(thread), UUID(assistant), tuple(ids))


_TEXT = {ANSWER: {"type": "string", "title": "Your answer"}}


def _form(fields: dict[str, Any], required: list[str] | None = None) -> dict[str, Any]:
    wanted = list(fields) if required is None else required
    return {"type": "object", "properties": fields, "required": wanted}


def _read_text(content: Content) -> Any:
    """The text, parsed if it is a JSON object or list."""
    text = content.get(ANSWER)
    if isinstance(text, str) and text.lstrip()[:1] in ("{", "["):
        try:
            return json.loads(text)
        except ValueError:
            return text
    return text


def _of_schema(
    schema: Any,
) -> tuple[dict[str, Any], Callable[[Content], Any]] | None:
    """The form for an interrupt's `response_schema`; None if no form can show it."""
    if not isinstance(schema, dict):
        return None
    if _is_field(schema):
        return _form({ANSWER: schema}), lambda content: content.get(ANSWER)
    fields = schema.get("properties")
    if schema.get("type") != "object" or not isinstance(fields, dict) or not fields:
        return None
    if not all(_is_field(field) for field in fields.values()):
        return None
    required = [name for name in schema.get("required", []) if name in fields]
    return _form(fields, required), dict


def _is_field(schema: Any) -> bool:
    if not isinstance(schema, dict) or not isinstance(schema.get("type"), str):
        return False
    if not set(schema) <= FIELD_KEYS.get(schema["type"], set()):
        return False
    if schema["type"] == "array":  # A choice of several items.
        items = schema.get("items") or {}
        return "enum" in items or _are_choices(items.get("anyOf"))
    return "oneOf" not in schema or _are_choices(schema["oneOf"])


def _are_choices(given: Any) -> bool:
    return isinstance(given, list) and all(
        set(one) == {"const", "title"} for one in given
    )


def _of_actions(value: Any) -> tuple[dict[str, Any], Callable[[Content], Any]] | None:
    """A form with a decision for each action that a human has to review."""
    allowed = _allowed_decisions(value)
    if allowed is None:
        return None
    fields: dict[str, Any] = {}
    for number, (name, decisions) in enumerate(allowed):
        fields[f"decision_{number}"] = {
            "type": "string",
            "title": f"Decision about {name}",
            "enum": decisions,
        }
        if set(decisions) & {"reject", "respond"}:
            fields[f"message_{number}"] = {
                "type": "string",
                "title": f"Message about {name}",
            }
    required = [name for name in fields if name.startswith("decision_")]
    count = len(allowed)
    return _form(fields, required), lambda content: _decisions(content, count)


def _allowed_decisions(value: Any) -> list[tuple[str, list[str]]] | None:
    """The name of each action, with the allowed decisions that a form can express.

    None if `value` is no such request, or if an action has no such decision.
    """
    try:
        configs = {one["action_name"]: one for one in value["review_configs"]}
        allowed = [
            (
                str(action["name"]),
                [
                    decision
                    for decision in configs[action["name"]]["allowed_decisions"]
                    if decision in DECISIONS
                ],
            )
            for action in value["action_requests"]
        ]
    except (KeyError, TypeError, IndexError):
        return None
    return allowed if allowed and all(decisions for _, decisions in allowed) else None


def _decisions(content: Content, count: int) -> dict[str, Any]:
    decisions = []
    for number in range(count):
        decision: dict[str, Any] = {"type": content.get(f"decision_{number}")}
        message = content.get(f"message_{number}")
        if message and decision["type"] != "approve":
            decision["message"] = message
        decisions.append(decision)
    return {"decisions": decisions}
