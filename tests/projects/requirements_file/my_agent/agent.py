from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from langgraph.graph import END, MessagesState, StateGraph
from typing_extensions import TypedDict

from my_agent.utils.nodes import call_model


class GraphConfig(TypedDict):
    model_name: str


@asynccontextmanager
async def make_graph() -> AsyncIterator[Any]:
    workflow = StateGraph(MessagesState, context_schema=GraphConfig)
    workflow.add_node("agent", call_model)
    workflow.set_entry_point("agent")
    workflow.add_edge("agent", END)
    yield workflow.compile()
