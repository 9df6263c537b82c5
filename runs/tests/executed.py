"""Graphs that the tests block, break, and fill with awkward values."""

from __future__ import annotations

import asyncio
import itertools
import math
import operator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, TypedDict
from uuid import UUID

from langchain_core.runnables import RunnableConfig
from langgraph.graph import START, StateGraph
from langgraph.runtime import Runtime
from langgraph.types import interrupt
from langgraph_sdk.runtime import ServerRuntime
from pydantic import BaseModel


class Log(TypedDict, total=False):
    # A folder: nodes write there that they have begun, and wait for the file `go`.
    folder: str
    log: Annotated[list[str], operator.add]


def _step(name: str, *, waits: bool = False) -> Any:
    async def step(state: Log) -> dict[str, Any]:
        folder = Path(state["folder"])
        with (folder / "begun").open("a") as begun:
            begun.write(f"{name}\n")
        while waits and not (folder / "go").exists():
            await asyncio.sleep(0.01)
        return {"log": [name]}

    return step


def _chain(state: type, *nodes: tuple[str, Any]) -> Any:
    graph: StateGraph[Any] = StateGraph(state)
    for name, node in nodes:
        graph.add_node(name, node)
    names = [START, *(name for name, _ in nodes)]
    for before, after in itertools.pairwise(names):
        graph.add_edge(before, after)
    return graph.compile()


steps = _chain(
    Log,
    ("one", _step("one")),
    ("two", _step("two", waits=True)),
    ("three", _step("three")),
)


def _boom(state: Log) -> dict[str, Any]:
    raise ValueError("boom happened")


fails = _chain(Log, ("one", _step("one")), ("boom", _boom))
# Its reducer refuses the value of its second node.
unreadable = _chain(Log, ("one", _step("one")), ("odd", lambda state: {"log": 5}))


def _ask(state: Log) -> dict[str, Any]:
    return {"log": [str(interrupt("which?"))]}


asks_inside = _chain(
    Log, ("inner", _chain(Log, ("ask", _ask), ("two", _step("two", waits=True))))
)


async def _alone(state: Log, config: RunnableConfig) -> dict[str, Any]:
    """Write to a file of the thread when the node begins, and when it ends."""
    with (Path(state["folder"]) / config["configurable"]["thread_id"]).open(
        "a"
    ) as file:
        print("begins", file=file, flush=True)
        try:
            await asyncio.sleep(0.005)
        finally:
            print("ends", file=file)
    return {"log": ["alone"]}


alone = _chain(Log, ("alone", _alone))


async def _deaf(state: Log) -> dict[str, Any]:
    folder = Path(state["folder"])
    (folder / "begun").touch()
    while not (folder / "go").exists():
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(0.01)
    return {"log": ["deaf"]}


deaf = _chain(Log, ("one", _deaf), ("two", _step("two")))


async def _leave(state: Log) -> dict[str, Any]:
    raise SystemExit("enough")


exits = _chain(Log, ("one", _step("one")), ("leave", _leave))


def no_graph(config: RunnableConfig) -> Any:
    raise RuntimeError("no model today")


def no_graph_at_all(config: RunnableConfig) -> Any:
    raise SystemExit("no model ever")


def configured(config: RunnableConfig) -> Any:
    """A graph with one node, named by the run's config."""
    name = config["configurable"]["node"]
    return _chain(Log, (name, lambda state: {"log": [name]}))


async def informed(runtime: ServerRuntime[Any]) -> Any:
    """A graph whose nodes are named after its access context and its store items."""
    running = runtime.execution_runtime
    await runtime.store.aput(("access",), runtime.access_context, {"seen": True})
    word = running.context["word"] if running else runtime.access_context
    return _chain(Log, ("step", lambda state: {"log": [word]}), (word, lambda s: {}))


async def _remember(state: Log, runtime: Runtime[Any]) -> dict[str, Any]:
    assert runtime.store
    await _step("remember", waits=True)(state)
    await runtime.store.aput(("memory",), "put", {"by": "the run"})
    await runtime.store.adelete(("memory",), "deleted")
    return {}


remembers = _chain(Log, ("remember", _remember))


class Colour(Enum):
    RED = "red"


class Person(BaseModel):
    name: str


@dataclass
class Point:
    x: int


class Awkward(TypedDict, total=False):
    person: Person
    point: Point
    id: UUID
    at: datetime
    colour: Colour
    raw: bytes
    text: str


def _fill(state: Awkward) -> dict[str, Any]:
    return {
        "person": Person(name="Ada"),
        "point": Point(1),
        "id": UUID(int=7),
        "at": datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
        "colour": Colour.RED,
        "raw": b"\x00\xff",
        "text": "nul \x00 and surrogate \ud800 end",
    }


awkward = _chain(Awkward, ("fill", _fill))


class Numbers(TypedDict, total=False):
    """Values that `jsonb` can't store, or returns changed."""

    best: float
    huge: float
    seen: list[str]
    worst: Annotated[float, lambda old, new: -math.inf]
    text: Annotated[str, lambda old, new: f"{new}\0"]


def _look(state: Numbers) -> dict[str, Any]:
    interrupt("go on?")
    return {"seen": [repr(state["best"]), repr(state["huge"])]}


numbers = _chain(
    Numbers, ("fill", lambda state: {"best": math.inf, "huge": 1e30}), ("look", _look)
)
