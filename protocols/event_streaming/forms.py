"""The JSON of values, messages and tool results in event streaming.

Messages are compact: their type, content and id, and other fields that have a value.
Token usage is published once, at the end of a message.
"""

from __future__ import annotations

from typing import Any

import orjson
from langchain_core.messages import BaseMessage, ToolMessage
from langgraph.types import Command

from spool.database.json import dumps, plain

# Fields that are not copied from a message, in addition to empty ones.
LEFT_OUT = frozenset({"usage_metadata", "example", "type", "content", "id"})
# Fields that a tool's result has even if they are empty.
OF_TOOLS = ("tool_call_id", "status", "artifact")


def written(value: Any) -> orjson.Fragment:
    """`value` as JSON with compact messages, to be put into other JSON."""
    return orjson.Fragment(dumps(value, default=_compact))


def compact_json(value: Any) -> Any:
    """Replace the full messages in parsed JSON by compact ones."""
    if isinstance(value, list):
        return [compact_json(item) for item in value]
    if not isinstance(value, dict):
        return value
    if _is_message(value):
        return _shortened(value)
    return {key: compact_json(item) for key, item in value.items()}


def _compact(value: Any) -> Any:
    if isinstance(value, BaseMessage):
        return _shortened(value.model_dump(warnings=False))
    if isinstance(value, Command):
        parts = {name: getattr(value, name) for name in ("update", "resume", "goto")}
        return {"lg_name": "Command", **parts}
    return plain(value)


def _is_message(value: dict[str, Any]) -> bool:
    return "response_metadata" in value and "additional_kwargs" in value


def _shortened(message: dict[str, Any]) -> dict[str, Any]:
    kept = {name: message.get(name) for name in ("type", "content")}
    if message.get("id"):
        kept["id"] = message["id"]
    is_tools = message.get("type") == ToolMessage.model_fields["type"].default
    always = OF_TOOLS if is_tools else ()
    for name, value in message.items():
        if name not in LEFT_OUT and (value or name in always):
            kept[name] = value
    return kept
