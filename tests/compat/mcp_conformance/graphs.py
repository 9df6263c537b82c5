"""A graph for each tool that the suite `@modelcontextprotocol/conformance` needs."""

from __future__ import annotations

import asyncio
from typing import Any, TypedDict

from langgraph.config import get_stream_writer
from langgraph.graph import END, START, StateGraph
from langgraph.types import interrupt
from pydantic import BaseModel, ConfigDict


class Nothing(TypedDict, total=False):
    pass


class Text(TypedDict, total=False):
    text: str


class State(Text, total=False):
    message: str


class Question(TypedDict):
    message: str


def tool(node: Any, takes: type = Nothing, gives: type = Text) -> Any:
    graph = StateGraph(State, input_schema=takes, output_schema=gives)
    graph.add_node("node", node)
    graph.add_edge(START, "node")
    graph.add_edge("node", END)
    return graph.compile()


def say(state: State) -> dict[str, Any]:
    return {"text": "This is a simple text response for testing."}


def fail(state: State) -> dict[str, Any]:
    raise RuntimeError("This tool intentionally returns an error for testing")


async def report(state: State) -> dict[str, Any]:
    for progress in (0, 50, 100):
        get_stream_writer()({"progress": progress, "total": 100})
        await asyncio.sleep(0.05)
    return {"text": "done"}


def asking(**fields: dict[str, Any]) -> Any:
    schema = {"type": "object", "properties": fields}

    def ask(state: State) -> dict[str, Any]:
        answer = interrupt(
            state.get("message", "Please answer"), response_schema=schema
        )
        return {"text": f"Elicitation completed: {answer}"}

    return ask


def titled(*values: str) -> list[dict[str, str]]:
    return [{"const": value, "title": value.title()} for value in values]


class address(BaseModel):  # The suite's name of the definition.
    street: str
    city: str


Address = address


class Person(BaseModel):
    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"$schema": "https://json-schema.org/draft/2020-12/schema"},
    )

    name: str = ""
    address: Address | None = None


simple_text = tool(say)
error_handling = tool(fail)
with_progress = tool(report)
elicitation = tool(
    asking(username={"type": "string"}, email={"type": "string", "format": "email"}),
    takes=Question,
)
defaults = tool(
    asking(
        name={"type": "string", "default": "John Doe"},
        age={"type": "integer", "default": 30},
        score={"type": "number", "default": 95.5},
        status={
            "type": "string",
            "enum": ["active", "inactive", "pending"],
            "default": "active",
        },
        verified={"type": "boolean", "default": True},
    )
)
enums = tool(
    asking(
        untitledSingle={"type": "string", "enum": ["option1", "option2", "option3"]},
        titledSingle={"type": "string", "oneOf": titled("value1", "value2", "value3")},
        legacyEnum={
            "type": "string",
            "enum": ["opt1", "opt2", "opt3"],
            "enumNames": ["One", "Two", "Three"],
        },
        untitledMulti={
            "type": "array",
            "items": {"type": "string", "enum": ["option1", "option2", "option3"]},
        },
        titledMulti={
            "type": "array",
            "items": {"anyOf": titled("value1", "value2", "value3")},
        },
    )
)
json_schema = tool(say, takes=Person)
