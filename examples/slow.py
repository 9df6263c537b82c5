"""Takes `steps` steps of `delay` seconds each, to cancel, kill or watch the run."""

import asyncio
import operator
from typing import Annotated, Literal

from langgraph.config import get_stream_writer
from langgraph.graph import END, START, StateGraph
from typing_extensions import TypedDict


class State(TypedDict, total=False):
    steps: int
    delay: float
    log: Annotated[list[str], operator.add]


async def step(state: State) -> State:
    number = len(state.get("log", [])) + 1
    get_stream_writer()({"step": number})
    await asyncio.sleep(state.get("delay", 1.0))
    return {"log": [f"step {number}"]}


def more(state: State) -> Literal["step", "__end__"]:
    return "step" if len(state["log"]) < state.get("steps", 5) else "__end__"


builder = StateGraph(State)
builder.add_node(step)
builder.add_edge(START, "step")
builder.add_conditional_edges("step", more, ["step", END])
graph = builder.compile()
