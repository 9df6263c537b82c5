"""The JSON schemas of a tool, made from those of its assistant's graph.

Both are objects with properties: MCP requires an object at the root, and hosts pass
input schemas to models, which accept neither `anyOf` nor `$ref` at the root. A list of
messages is described in a few lines, since LangChain's own description has twenty
kilobytes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import best_match

from spool.assistants.schemas import EdgeSchemas

# The property for a graph's input or output that is not an object itself.
INPUT, RESULT = "input", "result"
# Arguments and result keys that Spool adds to those of the graph.
THREAD_ID, RESUME, INTERRUPTS = "thread_id", "resume", "interrupts"

# References by which a list of LangChain's messages is recognised.
MESSAGE_KINDS = {"#/$defs/HumanMessage", "#/$defs/AIMessage"}
DEFS_PREFIX = "#/$defs/"
# An error text quotes the value that is wrong.
MAX_ERROR_CHARACTERS = 500

_CONTENT = {
    "anyOf": [
        {"type": "string"},
        {"type": "array", "items": {"anyOf": [{"type": "string"}, {"type": "object"}]}},
    ]
}
MESSAGES_IN: dict[str, Any] = {
    "description": "The input: a text, or messages with their roles.",
    "anyOf": [
        {"type": "string"},
        {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "role": {"type": "string", "examples": ["user", "assistant"]},
                    "content": _CONTENT,
                },
                "required": ["content"],
            },
        },
    ],
}
MESSAGES_OUT: dict[str, Any] = {
    "description": "The messages of the conversation, the newest last.",
    "type": "array",
    "items": {
        "type": "object",
        "properties": {
            "type": {"type": "string", "examples": ["human", "ai", "tool"]},
            "content": _CONTENT,
        },
    },
}
OURS_IN: dict[str, Any] = {
    THREAD_ID: {
        "type": "string",
        "format": "uuid",
        "description": "Continue the conversation of this thread, or answer its interrupts.",
    },
    RESUME: {
        "description": (
            "The answer to the open interrupt of `thread_id`, or an object of "
            "interrupt ids and answers. The tool's other arguments are ignored then."
        )
    },
}
OURS_OUT: dict[str, Any] = {
    THREAD_ID: {
        "type": "string",
        "description": "The thread to name when the interrupts are answered.",
    },
    INTERRUPTS: {
        "type": "array",
        "description": (
            "The assistant's question. Answer it by calling the tool with "
            "`thread_id` and `resume`."
        ),
        "items": {
            "type": "object",
            "properties": {"id": {"type": "string"}, "value": {}},
            "required": ["id", "value"],
        },
    },
}


@dataclass(frozen=True)
class ToolSchemas:
    """A tool's input and output schemas, and how they differ from the graph's.

    `wraps_input`: the graph's input is the argument `input`. `message_fields` also
    accept text. Clients only see the `output_keys` of the output; None: the whole
    output is in the key `result`. `own_arguments` are `thread_id` and `resume`, without
    those for which the graph has a field of the same name.
    """

    input: dict[str, Any]
    output: dict[str, Any]
    wraps_input: bool
    message_fields: frozenset[str]
    own_arguments: frozenset[str]
    output_keys: frozenset[str] | None


def tool_schemas(edges: EdgeSchemas) -> ToolSchemas:
    taken = _as_object(edges.input, INPUT)
    given = _as_object(edges.output, RESULT)
    properties = taken["properties"]
    messages = {name for name in properties if _is_messages(properties[name])}
    own = frozenset(OURS_IN) - set(properties)
    # A graph's output may lack keys that its own schema requires.
    given.pop("required", None)
    return ToolSchemas(
        input=_finished(taken, MESSAGES_IN, OURS_IN),
        output=_finished(given, MESSAGES_OUT, OURS_OUT),
        wraps_input=not _is_object(edges.input),
        message_fields=frozenset(messages),
        own_arguments=own,
        output_keys=None if edges.output_keys is None else frozenset(edges.output_keys),
    )


def find_mistake(schema: dict[str, Any], value: dict[str, Any]) -> str | None:
    """Describe what is wrong with `value` in one line; None if it is valid."""
    found = best_match(_validator(json.dumps(schema)).iter_errors(value))
    if found is None:
        return None
    where = ".".join(str(part) for part in found.absolute_path)
    text = str(found.message)[:MAX_ERROR_CHARACTERS]
    return f"{where}: {text}" if where else text


@lru_cache(maxsize=256)
def _validator(schema: str) -> Draft202012Validator:
    return Draft202012Validator(json.loads(schema))


def _as_object(schema: dict[str, Any], name: str) -> dict[str, Any]:
    """A copy with properties at its root: an object's own, else the property `name`."""
    definitions = schema.get("$defs", {})
    root = _root(schema)
    if not _is_object(schema):
        bare = {key: value for key, value in schema.items() if key != "$defs"}
        root = {"type": "object", "properties": {name: bare}, "required": [name]}
    return {
        **root,
        "properties": dict(root.get("properties", {})),
        **({"$defs": definitions} if definitions else {}),
    }


def _root(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema itself, or the definition that it refers to as a whole."""
    name = str(schema.get("$ref", "")).removeprefix(DEFS_PREFIX)
    found: dict[str, Any] = schema.get("$defs", {}).get(name, schema)
    return found


def _is_object(schema: dict[str, Any]) -> bool:
    return _root(schema).get("type") == "object"


def _is_messages(schema: Any) -> bool:
    if not isinstance(schema, dict) or schema.get("type") != "array":
        return False
    return set(_references(schema.get("items"))) >= MESSAGE_KINDS


def _finished(
    schema: dict[str, Any], messages: dict[str, Any], ours: dict[str, Any]
) -> dict[str, Any]:
    """The schema with short descriptions of messages, our properties, and no unused
    definition.
    """
    properties = {
        name: _short(one, messages) for name, one in schema["properties"].items()
    }
    properties |= {name: ours[name] for name in ours if name not in properties}
    rest = {key: value for key, value in schema.items() if key != "$defs"}
    finished = {**rest, "properties": properties}
    if used := _used_definitions(finished, schema.get("$defs", {})):
        finished["$defs"] = used
    return finished


def _short(schema: Any, messages: dict[str, Any]) -> Any:
    return messages if _is_messages(schema) else schema


def _used_definitions(
    schema: dict[str, Any], definitions: dict[str, Any]
) -> dict[str, Any]:
    used: dict[str, Any] = {}
    found = list(_references(schema))
    while found:
        name = found.pop().removeprefix(DEFS_PREFIX)
        if name in definitions and name not in used:
            used[name] = definitions[name]
            found += _references(used[name])
    return used


def _references(schema: Any) -> Iterator[str]:
    if isinstance(schema, dict):
        if isinstance(reference := schema.get("$ref"), str):
            yield reference
        for value in schema.values():
            yield from _references(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from _references(value)
