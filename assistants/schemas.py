"""What clients can learn of an assistant's graph: its drawing, and its JSON schemas."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from langgraph.channels.base import BaseChannel
from pydantic import create_model

from assistants.graphs import Graph, registry
from assistants.models import Assistant
from config.errors import Unprocessable
from config.loop import shared_loop

T = TypeVar("T")


def parse_xray(text: str | None) -> bool | int:
    """True, false, or how many levels of subgraphs to draw."""
    if text is None or text.lower() in ("false", ""):
        return False
    if text.lower() == "true":
        return True
    if text.isdecimal() and 0 < int(text) <= 100:
        return int(text)
    raise Unprocessable("Invalid xray value")


def drawable_graph(assistant: Assistant, xray: bool | int) -> dict[str, Any]:
    def draw(graph: Graph) -> dict[str, Any]:
        drawn: dict[str, Any] = graph.get_graph(xray=xray).to_json()
        for node in drawn.get("nodes", []):
            if isinstance(node.get("data"), dict):
                node["data"].pop("id", None)
        return drawn

    return _with_graph(assistant, draw)


def graph_schemas(assistant: Assistant) -> dict[str, Any]:
    return {"graph_id": assistant.graph_id, **_with_graph(assistant, _schemas)}


def subgraph_schemas(
    assistant: Assistant, namespace: str | None, recurse: bool
) -> dict[str, Any]:
    def read(graph: Graph) -> dict[str, Any]:
        found = graph.get_subgraphs(namespace=namespace, recurse=recurse)
        return {name: _schemas(subgraph) for name, subgraph in found}  # type: ignore[arg-type]

    return _with_graph(assistant, read)


def _with_graph(assistant: Assistant, read: Callable[[Graph], T]) -> T:
    if assistant.graph_id not in registry().graph_ids:
        raise Unprocessable(
            f"graph '{assistant.graph_id}' is not in langgraph.json any more"
        )

    async def open_and_read() -> T:
        config = {"configurable": assistant.config.get("configurable", {})}
        async with registry().open(assistant.graph_id, config) as graph:  # type: ignore[arg-type]
            return read(graph)

    return shared_loop().run(open_and_read())


def _schemas(graph: Graph) -> dict[str, Any]:
    return {
        "input_schema": graph.get_input_jsonschema(),
        "output_schema": graph.get_output_jsonschema(),
        "state_schema": _state_schema(graph),
        "config_schema": graph.get_config_jsonschema(),
        "context_schema": graph.get_context_jsonschema(),
    }


def _state_schema(graph: Graph) -> dict[str, Any]:
    """The schema of all channels that a state shows."""
    fields = {
        name: (channel.ValueType, None)
        for name, channel in graph.channels.items()
        if name in graph.stream_channels_list and isinstance(channel, BaseChannel)
    }
    model = create_model(f"{graph.get_name()}_state", **fields)  # type: ignore[call-overload]
    schema: dict[str, Any] = model.model_json_schema()
    return schema
