from __future__ import annotations

import json
from typing import Annotated, Any

import pytest
from langchain_core.messages import AnyMessage
from langgraph.graph.message import add_messages
from pydantic import BaseModel, TypeAdapter
from typing_extensions import TypedDict

from spool.assistants.schemas import EdgeSchemas
from spool.protocols.mcp.schemas import find_mistake, tool_schemas


class Chat(TypedDict):
    messages: Annotated[list[AnyMessage], add_messages]
    language: str


class Node(BaseModel):
    text: str
    below: list[Node] = []


OBJECT = {"type": "object"}


def edges(taken: Any, given: Any = OBJECT, keys: Any = ("x",)) -> EdgeSchemas:
    taken, given = (
        one if isinstance(one, dict) else TypeAdapter(one).json_schema()
        for one in (taken, given)
    )
    return EdgeSchemas(taken, given, keys)


def test_messages_may_be_a_text() -> None:
    made = tool_schemas(edges(Chat))

    assert made.message_fields == {"messages"}
    assert made.input["properties"]["messages"]["anyOf"][0] == {"type": "string"}
    assert made.input["required"] == ["messages", "language"]


def test_langchains_description_of_messages_is_left_out() -> None:
    made = tool_schemas(edges(Chat, Chat))

    assert "$defs" not in made.input
    assert len(json.dumps(made.input)) < 2000
    assert len(json.dumps(made.output)) < 2000


def test_the_output_requires_nothing() -> None:
    made = tool_schemas(edges(Chat, Chat))

    assert "required" not in made.output
    assert {"messages", "language", "thread_id", "interrupts"} == set(
        made.output["properties"]
    )


@pytest.mark.parametrize("given", [{"type": "integer"}, {"type": "array"}, {}])
def test_what_is_no_object_becomes_one(given: dict[str, Any]) -> None:
    made = tool_schemas(edges(given, given, None))

    assert made.wraps_input
    assert made.output_keys is None
    assert made.input["type"] == made.output["type"] == "object"
    assert made.input["properties"]["input"] == given
    assert made.input["required"] == ["input"]
    assert made.output["properties"]["result"] == given


def test_a_model_that_refers_to_itself_has_its_properties_at_the_root() -> None:
    made = tool_schemas(edges(Node))

    assert made.input["properties"]["text"] == {"title": "Text", "type": "string"}
    assert set(made.input["$defs"]) == {"Node"}
    assert find_mistake(made.input, {"text": "a", "below": [{"text": "b"}]}) is None
    assert find_mistake(made.input, {"text": "a", "below": [{"text": 1}]}) == (
        "below.0.text: 1 is not of type 'string'"
    )


def test_a_field_of_the_graph_goes_before_ours() -> None:
    own = {"type": "object", "properties": {"thread_id": {"type": "integer"}}}

    made = tool_schemas(edges(own))

    assert made.own_arguments == {"resume"}
    assert made.input["properties"]["thread_id"] == {"type": "integer"}


def test_a_mistake_is_one_short_line() -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}}

    found = find_mistake(schema, {"n": "x" * 10_000})

    assert found is not None
    assert len(found) < 600
    assert find_mistake(schema, {"n": 1, "more": True}) is None
