"""Factories of graphs that take their time, and that end in odd ways."""

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
    """Asks somebody who does not answer; notes that it has begun."""
    Path(config["configurable"]["folder"], "begun").touch()
    await asyncio.Event().wait()


def gives_up(config: RunnableConfig) -> Any:
    raise asyncio.CancelledError("the client's own")


@asynccontextmanager
async def stays(config: RunnableConfig) -> AsyncIterator[Any]:
    """Wants to say goodbye to somebody who does not answer."""
    yield _graph()
    await asyncio.Event().wait()
