"""Updates of a thread's state, by the graph that wrote it.

Graphs are asynchronous, so the work is done on the process's loop. Synchronous views
call the functions here, which wait for the result.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable, Sequence
from typing import Any, TypeVar
from uuid import UUID

from django.db import transaction
from django.db.models.functions import Now
from langchain_core.runnables import RunnableConfig
from langgraph.types import StateSnapshot, StateUpdate
from psycopg import DatabaseError
from rest_framework.exceptions import APIException

from spool.assistants.graphs import BUILD_TIMEOUT_SECS, GraphNotFound
from spool.database.loop import shared_loop
from spool.database.retries import CONNECTION_FAULTS
from spool.threads.checkpoints import EditSaver, saver
from spool.threads.commands import command_of
from spool.threads.models import Thread
from spool.threads.snapshots import read_state
from spool.threads.state import factory_config, get_state, open_graph, state_config
from spool.threads.state_form import cached_columns
from spool.threads.thread_request import NEWEST, CheckpointRef
from spool.web.errors import BadRequest, Conflict, NotFound

T = TypeVar("T")


class ThreadInUse(Conflict):
    default_detail = "Thread has a run in flight: wait for it, or cancel it first."


@transaction.atomic
def update_state(
    thread: Thread,
    updates: Iterable[Sequence[StateUpdate]],
    checkpoint: CheckpointRef = NEWEST,
) -> RunnableConfig:
    """Apply supersteps of updates. Returns the newest checkpoint's config.

    Refused while a run is active. The thread's row is locked until its columns have the
    new state, so that no run starts in between.
    """
    locked, graph_id = _locked_at_rest(thread)
    config = state_config(thread.id, checkpoint)
    # Metadata to filter history by. `run_id` is left out, so that deleting that run
    # does not delete these checkpoints.
    kept = {key: v for key, v in locked.metadata.items() if key != "run_id"}
    config["metadata"] = kept
    steps = [list(step) for step in updates]
    work = _update(locked, factory_config(locked, graph_id), config, steps)
    try:
        updated, snapshot = shared_loop().run(work)
    except GraphNotFound as exc:
        raise NotFound(str(exc)) from None
    except (*CONNECTION_FAULTS, DatabaseError, APIException):
        raise
    except (Exception, SystemExit) as exc:
        # The graph's reducers, writers and conditions may refuse what the client sent.
        raise BadRequest(str(exc) or type(exc).__name__) from None
    columns = cached_columns(snapshot)
    Thread.objects.filter(pk=thread.pk).update(
        **columns,
        resting_status=columns["status"],
        error=None,
        updated_at=Now(),
        state_updated_at=Now(),
    )
    return updated


def _locked_at_rest(thread: Thread) -> tuple[Thread, str]:
    """Lock the thread's row. Returns the thread as it is now, and its graph."""
    locked = Thread.objects.select_for_update().filter(pk=thread.pk).first()
    if locked is None:
        raise NotFound(f"Thread with ID {thread.pk} not found")
    if locked.status == Thread.Status.BUSY:
        raise ThreadInUse
    if graph_id := locked.metadata.get("graph_id"):
        return locked, graph_id
    raise BadRequest(
        f"Thread '{thread.id}' has no graph: run it once, or set metadata.graph_id"
    )


@transaction.atomic
def show_newest_state(thread_id: UUID) -> None:
    """Update a thread at rest to its newest checkpoint, after a deletion."""
    at_rest = Thread.objects.exclude(status=Thread.Status.BUSY).filter(pk=thread_id)
    thread = at_rest.select_for_update().first()
    if thread is None:
        return
    columns = cached_columns(get_state(thread))
    Thread.objects.filter(pk=thread_id).update(
        **columns,
        resting_status=columns["status"],
        error=None,
        updated_at=Now(),
        state_updated_at=Now(),
    )


async def _update(
    thread: Thread,
    made_for: RunnableConfig,
    config: RunnableConfig,
    steps: list[list[StateUpdate]],
) -> tuple[RunnableConfig, StateSnapshot]:
    """Apply all updates or none: LangGraph saves values before it validates them."""
    async with (
        # Opened before a connection is taken, since factories may be slow and there are
        # few connections.
        open_graph(thread, made_for, "threads.update") as made,
        shared_loop().pool.connection() as conn,
        conn.transaction(),
    ):
        graph = made.copy(update={"checkpointer": EditSaver(conn)})
        checkpoint_id = config["configurable"].get("checkpoint_id")
        if checkpoint_id and await saver(conn).aget_tuple(config) is None:
            # LangGraph would start from an empty state and replace the thread's.
            raise NotFound(f"Checkpoint {checkpoint_id} not found")
        updated = await _in_time(graph.abulk_update_state(config, steps))
        newest = state_config(config["configurable"]["thread_id"])
        return updated, await read_state(graph, newest)


async def _in_time(update: Coroutine[Any, Any, T]) -> T:
    """Time out an update: the graph's conditions may wait for a slow remote service."""
    limit = asyncio.timeout(BUILD_TIMEOUT_SECS)
    try:
        async with limit:
            return await update
    except TimeoutError:
        if not limit.expired():
            raise
        raise BadRequest(
            f"The graph did not take the update within {BUILD_TIMEOUT_SECS:g} seconds"
        ) from None


def state_update(
    values: Any = None, as_node: str | None = None, command: Any = None, **_: Any
) -> StateUpdate:
    """One update in LangGraph's form. A command's update takes precedence."""
    if command:
        try:
            values = command_of(command)
        except (AttributeError, KeyError, TypeError):
            raise BadRequest("goto must name nodes, or be {node, input}") from None
    return StateUpdate(values, as_node)
