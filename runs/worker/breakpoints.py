"""Breakpoints: where a run's request stops its graph."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph.constants import START
from langgraph.pregel import Pregel

from spool.runs.run_request import RunKwargs
from spool.threads.snapshots import read_state


async def is_at_breakpoint(
    graph: Pregel[Any, Any, Any, Any], config: RunnableConfig, kwargs: RunKwargs
) -> bool:
    """Whether an earlier attempt stopped at a breakpoint, which a resume would pass."""
    state = await read_state(graph, config)
    if not state.parent_config or (state.metadata or {}).get("source") != "loop":
        return False
    done = await read_state(graph, state.parent_config)
    before = kwargs.interrupt_before or graph.interrupt_before_nodes
    after = kwargs.interrupt_after or graph.interrupt_after_nodes
    return _any_of(state.next, before) or _any_of(done.next, after)


def _any_of(nodes: Sequence[str], breakpoints: Sequence[str]) -> bool:
    chosen = set(nodes) - {START}
    return bool(chosen if breakpoints == "*" else chosen & set(breakpoints))
