"""Graphs whose states Postgres or JSON can't store."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypedDict

from langchain_core.runnables import RunnableConfig
from langgraph.graph import START, StateGraph


def _count(state: Any, config: RunnableConfig) -> dict[str, Any]:
    with Path(config["configurable"]["folder"], "begun").open("a") as begun:
        begun.write("inner\n")
    return {"text": "done"}


class State(TypedDict, total=False):
    text: str
    own: list[Any]


def _one(name: str, node: Any) -> Any:
    graph = StateGraph(State)
    graph.add_node(name, node)
    graph.add_edge(START, name)
    return graph.compile()


# The name is part of the key of the inner graph's checkpoints.
named = _one(
    "".join(f"{n * n:x}" for n in range(60_000_000, 60_001_000)),
    _one("inner", _count),
)


def _tie(state: State, config: RunnableConfig) -> dict[str, Any]:
    _count(state, config)
    knot: list[Any] = []
    knot.append(knot)
    return {"own": knot}


knot = _one("tie", _tie)
