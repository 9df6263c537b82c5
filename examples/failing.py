"""Always fails, to show how clients, the admin and the logs report an exception."""

from langgraph.graph import END, START, StateGraph
from typing_extensions import TypedDict


class State(TypedDict, total=False):
    reason: str
    started: bool


def start(state: State) -> State:
    return {"started": True}


def fail(state: State) -> State:
    raise ValueError(state.get("reason") or "this example always fails")


builder = StateGraph(State)
builder.add_node(start)
builder.add_node(fail)
builder.add_edge(START, "start")
builder.add_edge("start", "fail")
builder.add_edge("fail", END)
graph = builder.compile()
