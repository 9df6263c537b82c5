"""Graph factories that are slow, or that end in unusual ways."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph.graph import START, StateGraph


def _graph() -> Any:
    graph: StateGraph[Any] = StateGraph(dict)
    graph.add_node("one", lambda state: state)
    graph.add_edge(START, "one")
    return graph.compile()


async def never(config: RunnableConfig) -> Any:
    """Hang like a call to a service that does not respond; write that it has begun."""
    Path(config["configurable"]["folder"], "begun").touch()
    await asyncio.Event().wait()


def gives_up(config: RunnableConfig) -> Any:
    raise asyncio.CancelledError("the client's own")


@asynccontextmanager
async def stays(config: RunnableConfig) -> AsyncIterator[Any]:
    """Hang on closing, like a call to a service that does not respond."""
    yield _graph()
    await asyncio.Event().wait()
