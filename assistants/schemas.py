"""The drawing and the JSON schemas of an assistant's graph."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, NotRequired, Required, TypeVar, get_args, get_origin
from weakref import WeakKeyDictionary

from langgraph.channels.base import BaseChannel
from langgraph.graph.state import CompiledStateGraph
from pydantic import TypeAdapter, create_model
from typing_extensions import TypedDict, get_type_hints, is_typeddict

from spool.access.policy import Scope
from spool.access.users import User
from spool.assistants.configurable import of_client
from spool.assistants.graphs import Graph, Registry, registry
from spool.assistants.models import Assistant
from spool.database.loop import shared_loop
from spool.store.backend import PostgresStore
from spool.web.errors import Unprocessable

logger = logging.getLogger(__name__)

T = TypeVar("T")

MAX_KNOWN_EDGES = 1000
# A slow graph must not delay a list of all assistants.
EDGES_TIMEOUT_SECS = 5.0
# How long to wait before retrying to build a graph that could not be built, in seconds.
RETRY_SECS = 60.0


@dataclass(frozen=True, eq=False)
class EdgeSchemas:
    """JSON schemas of a graph's input and output.

    `output_keys` are the keys of its state that clients see; None if the output is not
    an object of channels.
    """

    input: dict[str, Any]
    output: dict[str, Any]
    output_keys: tuple[str, ...] | None


@dataclass(frozen=True)
class _KnownEdges:
    """The schemas, or the error that building the graph raised."""

    edges: EdgeSchemas | str
    until: float


_known_edges: WeakKeyDictionary[Registry, dict[tuple[Any, ...], _KnownEdges]] = (
    WeakKeyDictionary()
)


def parse_xray(text: str | None) -> bool | int:
    """True, false, or how many levels of subgraphs to draw."""
    if text is None or text.lower() in ("false", ""):
        return False
    if text.lower() == "true":
        return True
    if text.isdecimal() and len(text) < 4 and 0 < int(text) <= 100:
        return int(text)
    raise Unprocessable("Invalid xray value")


def drawable_graph(
    assistant: Assistant, scope: Scope, xray: bool | int
) -> dict[str, Any]:
    def draw(graph: Graph) -> dict[str, Any]:
        drawn: dict[str, Any] = graph.get_graph(xray=xray).to_json()
        for node in drawn.get("nodes", []):
            if isinstance(node.get("data"), dict):
                node["data"].pop("id", None)
        return drawn

    return _with_graph(assistant, scope, draw)


def graph_schemas(assistant: Assistant, scope: Scope) -> dict[str, Any]:
    schemas = _with_graph(assistant, scope, _schemas)
    return {"graph_id": assistant.graph_id, **schemas}


def subgraph_schemas(
    assistant: Assistant, scope: Scope, namespace: str | None, recurse: bool
) -> dict[str, Any]:
    def read(graph: Graph) -> dict[str, Any]:
        found = graph.get_subgraphs(namespace=namespace, recurse=recurse)
        return {name: _schemas(subgraph) for name, subgraph in found}  # type: ignore[arg-type]

    return _with_graph(assistant, scope, read)


def edge_schemas(assistant: Assistant, scope: Scope) -> EdgeSchemas:
    """The input and output schemas of the assistant's graph, from a cache.

    Raises 422 for a graph that can't be built, and retries only after `RETRY_SECS`.
    """
    known = _known_edges.setdefault(registry(), {})
    key = _edges_key(assistant, scope)
    found = known.get(key)
    if found is None or found.until < time.monotonic():
        found = _read_edges(assistant, scope)
        if len(known) >= MAX_KNOWN_EDGES:
            known.clear()
        known[key] = found
    if isinstance(found.edges, str):
        raise Unprocessable(found.edges)
    return found.edges


def _edges_key(assistant: Assistant, scope: Scope) -> tuple[Any, ...]:
    if registry().takes_config(assistant.graph_id):
        # The factory may build another graph for each configuration and caller.
        return assistant.id, assistant.updated_at, scope.owner, scope.identity
    return (assistant.graph_id,)


def _read_edges(assistant: Assistant, scope: Scope) -> _KnownEdges:
    try:
        edges = _with_graph(assistant, scope, _edges, EDGES_TIMEOUT_SECS)
        return _KnownEdges(edges, math.inf)
    except Unprocessable as exc:
        return _KnownEdges(str(exc.detail), time.monotonic() + RETRY_SECS)


def _edges(graph: Graph) -> EdgeSchemas:
    keys = graph.output_channels
    return EdgeSchemas(
        input=_schema("input", lambda: _edge_type(graph, "input")),
        output=_schema("output", lambda: _edge_type(graph, "output")),
        output_keys=None if isinstance(keys, str) else tuple(keys),
    )


def _with_graph(
    assistant: Assistant,
    scope: Scope,
    read: Callable[[Graph], T],
    timeout: float | None = None,
) -> T:
    if assistant.graph_id not in registry().graph_ids:
        raise Unprocessable(
            f"graph '{assistant.graph_id}' is no longer in langgraph.json"
        )

    configurable = {
        **of_client(assistant.config.get("configurable")),
        "langgraph_auth_user": User(scope.user) if scope.user else None,
    }

    async def open_and_read() -> T:
        opened = registry().look_into(
            assistant.graph_id,
            {"configurable": configurable},
            access="assistants.read",
            store=PostgresStore(shared_loop().pool, scope.owner),
            timeout=timeout,
        )
        async with opened as graph:
            return read(graph)

    return shared_loop().run(open_and_read())


def _schemas(graph: Graph) -> dict[str, Any]:
    context = graph.context_schema
    return {
        "input_schema": _schema("input", lambda: _edge_type(graph, "input")),
        "output_schema": _schema("output", lambda: _edge_type(graph, "output")),
        "state_schema": _schema("state", lambda: _state_model(graph)),
        # The context schema again, or {}, since clients build forms from this key.
        "config_schema": _schema("context", lambda: context) if context else {},
        "context_schema": _schema("context", lambda: context) if context else None,
    }


def _edge_type(graph: Graph, edge: str) -> Any:
    """The type of the graph's input or output."""
    if isinstance(graph, CompiledStateGraph):
        return getattr(graph.builder, f"{edge}_schema")
    return graph.get_input_schema() if edge == "input" else graph.get_output_schema()


def _state_model(graph: Graph) -> Any:
    """A model of the channels that a state contains."""
    kinds = {
        name: _without_marks(channel.ValueType)
        for name, channel in graph.channels.items()
        if name in graph.stream_channels_list and isinstance(channel, BaseChannel)
    }
    fields: Any = {name: (_described(kind), None) for name, kind in kinds.items()}
    return create_model("state", **fields)


def _described(kind: Any) -> Any:
    """The type; `Any` if it has no schema, so that the other fields keep theirs."""
    try:
        TypeAdapter(_with_new_typed_dicts(kind)).json_schema()
    except Exception:
        return Any
    return kind


def _without_marks(kind: Any) -> Any:
    """A type without `NotRequired` and `Required`, which only TypedDicts may have."""
    if get_origin(kind) in (NotRequired, Required):
        return _without_marks(get_args(kind)[0])
    if get_origin(kind) is Annotated:
        inner, *metadata = get_args(kind)
        return Annotated[(_without_marks(inner), *metadata)]
    return kind


def _schema(title: str, given: Callable[[], Any]) -> dict[str, Any]:
    """The JSON schema of a type; a plain object if it has none."""
    try:
        return TypeAdapter(_with_new_typed_dicts(given())).json_schema()
    except Exception as exc:
        # A type that Pydantic doesn't know, an unresolved name, or a type's own error.
        logger.warning("no JSON schema for the %s of a graph: %r", title, exc)
        return {"title": title, "type": "object"}


def _with_new_typed_dicts(given: Any) -> Any:
    """Rebuild a TypedDict with typing_extensions, for Pydantic before Python 3.12."""
    if not is_typeddict(given):
        return given
    hints = get_type_hints(given, include_extras=True)
    required = given.__required_keys__
    fields = {
        name: hint if name in required else NotRequired[hint]
        for name, hint in hints.items()
    }
    return TypedDict(given.__name__, fields)  # type: ignore[operator]
