"""A graph that stores texts, and finds them by meaning."""

from __future__ import annotations

from typing import Any, TypedDict

from langgraph.graph import END, START, StateGraph
from langgraph.store.base import BaseStore


class State(TypedDict, total=False):
    keep: str
    find: str
    found: list[Any]


async def recall(state: State, *, store: BaseStore) -> State:
    if keep := state.get("keep"):
        await store.aput(("facts",), keep, {"text": keep})
    found = await store.asearch(("facts",), query=state.get("find"), limit=1)
    return {"found": [[item.key, item.score] for item in found]}


graph = (
    StateGraph(State)
    .add_node(recall)
    .add_edge(START, "recall")
    .add_edge("recall", END)
    .compile()
)
