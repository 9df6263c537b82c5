"""Keeps a data frame in its state, even while it waits for an answer."""

from __future__ import annotations

from typing import Any

import pandas as pd
from langgraph.graph import START, StateGraph
from langgraph.types import interrupt
from typing_extensions import TypedDict


class State(TypedDict, total=False):
    rows: list[dict[str, Any]]
    frame: Any
    total: int


def load(state: State) -> State:
    return {"frame": pd.DataFrame(state["rows"])}


def ask(state: State) -> State:
    column = interrupt({"columns": list(state["frame"].columns)})
    return {"total": int(state["frame"][column].sum())}


graph = (
    StateGraph(State)
    .add_node(load)
    .add_node(ask)
    .add_edge(START, "load")
    .add_edge("load", "ask")
    .compile()
)
