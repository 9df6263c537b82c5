"""Reads states through their graph, including those that the graph can't read.

A run may fail because the graph's reducers or its state schema refuse a value from a
node or a client. By then the checkpoint contains that value, so LangGraph fails again
whenever it reads the state. Clients must still be able to read the thread.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Sequence
from contextlib import suppress
from typing import Any, TypeVar

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import BaseCheckpointSaver, CheckpointTuple
from langgraph.types import StateSnapshot
from psycopg import DatabaseError

from spool.assistants.graphs import Graph
from spool.database.retries import CONNECTION_FAULTS
from spool.threads.checkpoints import CheckpointsUnavailable, LostRun

logger = logging.getLogger(__name__)

T = TypeVar("T")

# Errors that were not caused by the graph, so that reading only a part would not help.
_NOT_THE_GRAPHS = (*CONNECTION_FAULTS, DatabaseError, CheckpointsUnavailable, LostRun)


async def read_state(
    graph: Graph, config: RunnableConfig, *, subgraphs: bool = False
) -> StateSnapshot:
    """The state at `config`, or the readable part of it."""
    state = await _unless_refused(graph.aget_state(config, subgraphs=subgraphs))
    if state is not None:
        return state
    saved = await _saver(graph).aget_tuple(config)
    if saved is None:
        return await graph.aget_state(config)
    return await _what_there_is(graph, saved)


async def read_history(
    graph: Graph, config: RunnableConfig, **chosen: Any
) -> list[StateSnapshot]:
    """States, newest first. `chosen` may have `filter`, `before` and `limit`."""

    async def read() -> list[StateSnapshot]:
        return [one async for one in graph.aget_state_history(config, **chosen)]

    states = await _unless_refused(read())
    if states is not None:
        return states
    every = [saved async for saved in _saver(graph).alist(config, **chosen)]
    return [await _what_there_is(graph, saved) for saved in every]


async def _unless_refused(reading: Awaitable[T]) -> T | None:
    """Await a read. Returns None if the graph's own code raises an exception."""
    try:
        return await reading
    except _NOT_THE_GRAPHS:
        raise
    except (Exception, SystemExit) as exc:
        logger.warning("a graph could not read its own state: %r", exc)
        return None


async def _what_there_is(graph: Graph, saved: CheckpointTuple) -> StateSnapshot:
    """The readable part: the state before the failed step, or else only its values."""
    named = saved.config["configurable"]
    keys = ("thread_id", "checkpoint_ns", "checkpoint_id")
    # With a checkpoint id, LangGraph leaves out the writes of the step's tasks.
    config: RunnableConfig = {"configurable": {key: named[key] for key in keys}}
    before = await _unless_refused(graph.aget_state(config))
    if before is not None:
        return before
    return StateSnapshot(
        values=_values(graph, saved),
        next=(),
        config=saved.config,
        metadata=saved.metadata,
        created_at=saved.checkpoint["ts"],
        parent_config=saved.parent_config,
        tasks=(),
        interrupts=(),
    )


def output_of(graph: Graph, values: Any) -> Any:
    """The part of a state's values that is in the graph's output schema."""
    names = graph.output_channels
    if isinstance(names, str) or not isinstance(values, dict):
        return values
    return {name: values[name] for name in names if name in values}


def hides_state(graph: Graph) -> bool:
    """Whether the state has keys that are not in the graph's output schema."""
    return not set(graph.stream_channels_list) <= set(_listed(graph.output_channels))


def _listed(names: str | Sequence[str]) -> Sequence[str]:
    return [names] if isinstance(names, str) else names


def _values(graph: Graph, saved: CheckpointTuple) -> Any:
    values = saved.checkpoint["channel_values"]
    namespace: str = saved.config["configurable"]["checkpoint_ns"]
    if namespace:
        nodes = "|".join(part.split(":")[0] for part in namespace.split("|"))
        with suppress(StopIteration):
            _, graph = next(graph.get_subgraphs(namespace=nodes, recurse=True))  # type: ignore[assignment]
    shown = graph.stream_channels_asis
    if isinstance(shown, str):  # The state of a functional graph is one value.
        return values.get(shown)
    return {name: values[name] for name in shown if name in values}


def _saver(graph: Graph) -> BaseCheckpointSaver[Any]:
    if not isinstance(graph.checkpointer, BaseCheckpointSaver):
        raise TypeError("the state of a graph without a checkpointer can't be read")
    return graph.checkpointer
