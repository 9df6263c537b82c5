"""A thread's state: its checkpoints, as read by the graph that wrote them.

Graphs are asynchronous, so the work is done on the process's loop. The functions here
are called by synchronous views, and wait for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import (
    Awaitable,
    Callable,
    Coroutine,
    Iterable,
    Mapping,
    Sequence,
)
from contextlib import AbstractAsyncContextManager
from typing import Any, TypeVar
from uuid import UUID

from django.db import transaction
from django.db.models.functions import Now
from langchain_core.runnables import RunnableConfig
from langgraph.types import StateSnapshot, StateUpdate
from langgraph_sdk.runtime import AccessContext
from psycopg import DatabaseError
from rest_framework.exceptions import APIException

from spool.assistants.configurable import of_client
from spool.assistants.graphs import (
    BUILD_TIMEOUT_SECS,
    Graph,
    GraphNotBuilt,
    GraphNotFound,
    registry,
)
from spool.database.json import clean_text
from spool.database.loop import shared_loop
from spool.database.retries import CONNECTION_FAULTS
from spool.store.backend import PostgresStore
from spool.threads import hooks
from spool.threads.checkpoints import EditSaver, saver
from spool.threads.commands import command_of
from spool.threads.models import Thread
from spool.threads.snapshots import output_of, read_history, read_state
from spool.threads.thread_request import NEWEST, CheckpointRef
from spool.web.errors import BadRequest, Conflict, NotFound, Unprocessable

T = TypeVar("T")


class ThreadInUse(Conflict):
    default_detail = "Thread has a run in flight: wait for it, or cancel it first."


# --- The wire's form ---------------------------------------------------------------
def state_json(snapshot: StateSnapshot, select: Sequence[str] = ()) -> dict[str, Any]:
    """A `ThreadState`. `select` limits it to some fields, or `values.<key>`."""
    checkpoint = _checkpoint(snapshot.config)
    parent = _checkpoint(snapshot.parent_config)
    whole = {
        "values": snapshot.values,
        "next": list(snapshot.next),
        "tasks": [_task(task) for task in snapshot.tasks],
        "metadata": snapshot.metadata,
        "created_at": snapshot.created_at,
        "checkpoint": checkpoint,
        "parent_checkpoint": parent,
        "interrupts": [one for task in snapshot.tasks for one in task.interrupts],
        "checkpoint_id": checkpoint and checkpoint["checkpoint_id"],
        "parent_checkpoint_id": parent and parent["checkpoint_id"],
    }
    return _selected(whole, select) if select else whole


EMPTY = StateSnapshot({}, (), {"configurable": {}}, None, None, None, (), ())


def _selected(state: dict[str, Any], select: Sequence[str]) -> dict[str, Any]:
    kept = {name: state[name] for name in state if name in select}
    keys = [name.removeprefix("values.") for name in select if name[:7] == "values."]
    unknown = set(select) - set(state) - {f"values.{key}" for key in keys}
    if unknown:
        raise Unprocessable(f"select: unknown fields: {', '.join(sorted(unknown))}")
    if keys and "values" not in kept:
        values = state["values"] if isinstance(state["values"], dict) else {}
        kept["values"] = {key: values[key] for key in keys if key in values}
    if "checkpoint" in kept:
        kept["checkpoint_id"] = state["checkpoint_id"]
    if "parent_checkpoint" in kept:
        kept["parent_checkpoint_id"] = state["parent_checkpoint_id"]
    return kept


def _checkpoint(config: RunnableConfig | None) -> dict[str, Any] | None:
    configurable = (config or {}).get("configurable", {})
    if not configurable.get("thread_id"):
        return None
    names = ("thread_id", "checkpoint_ns", "checkpoint_id", "checkpoint_map")
    named = {name: configurable.get(name) for name in names}
    named["checkpoint_ns"] = named["checkpoint_ns"] or ""
    if named["checkpoint_map"] is None:
        del named["checkpoint_map"]
    return named


def _task(task: Any) -> dict[str, Any]:
    nested = task.state if isinstance(task.state, StateSnapshot) else None
    checkpoint = None
    if task.state is not None and nested is None:
        configurable = task.state["configurable"]
        names = ("thread_id", "checkpoint_ns", "checkpoint_id")
        checkpoint = {n: configurable[n] for n in names if n in configurable}
    return {
        "id": task.id,
        "name": task.name,
        "path": list(task.path),
        "error": _error(task.error),
        "interrupts": list(task.interrupts),
        "checkpoint": checkpoint,
        "state": state_json(nested) if nested else None,
        "result": task.result,
    }


def _error(error: Any) -> str | None:
    # In a checkpoint, an exception is stored as its `repr`.
    return error if error is None or isinstance(error, str) else repr(error)


def cached_columns(snapshot: StateSnapshot) -> dict[str, Any]:
    """The columns of a thread at rest that cache its newest checkpoint."""
    interrupts = {
        task.id: list(task.interrupts) for task in snapshot.tasks if task.interrupts
    }
    return {
        "values": snapshot.values,
        "interrupts": interrupts,
        "interrupt_order": list(interrupts) if len(interrupts) > 1 else None,
        "status": Thread.Status.INTERRUPTED if snapshot.next else Thread.Status.IDLE,
    }


# --- Reading -----------------------------------------------------------------------
def get_state(
    thread: Thread,
    *,
    checkpoint: CheckpointRef = NEWEST,
    subgraphs: bool = False,
) -> StateSnapshot:
    """The state of a checkpoint, the newest by default."""
    graph_id = _graph_id(thread)
    config = _config(thread.id, checkpoint)
    if graph_id is None:
        return _stateless(config, checkpoint)
    made_for = _made_for(thread, graph_id)

    async def read() -> StateSnapshot:
        async with _opened(thread, made_for) as graph:
            return await read_state(graph, config, subgraphs=subgraphs)

    snapshot = _read(thread, read(), EMPTY)
    return snapshot if snapshot.created_at else _stateless(config, checkpoint)


def get_output(thread: Thread, graph_id: str) -> Any:
    """The part of the thread's values that is in the output schema of this graph.

    Empty if the graph can't be built, since the keys to hide are not known.
    """
    if thread.values is None:
        return None

    async def read(graph: Graph) -> Any:
        return output_of(graph, thread.values)

    return _output(thread, graph_id, read)


def get_live_output(thread: Thread, graph_id: str) -> Any:
    """The same of the newest checkpoint, for a thread whose run goes on.

    None: there is no checkpoint yet.
    """

    async def read(graph: Graph) -> Any:
        found = await read_state(graph, _config(thread.id))
        return output_of(graph, found.values) if found.created_at else None

    return _output(thread, graph_id, read)


def _output(
    thread: Thread, graph_id: str, read: Callable[[Graph], Awaitable[Any]]
) -> Any:
    made_for = _made_for(thread, graph_id)

    async def opened() -> Any:
        async with _opened(thread, made_for, graph_id=graph_id) as graph:
            return await read(graph)

    try:
        return shared_loop().run(opened())
    except (GraphNotFound, GraphNotBuilt):
        return {}


def get_history(
    thread: Thread,
    *,
    limit: int,
    before: str | None = None,
    metadata: Mapping[str, Any] | None = None,
    checkpoint: CheckpointRef = NEWEST,
) -> list[StateSnapshot]:
    """States, newest first, of the namespace of `checkpoint`.

    `before` is the id of a checkpoint.
    """
    graph_id = _graph_id(thread)
    if graph_id is None:
        return []
    config, made_for = _config(thread.id, checkpoint), _made_for(thread, graph_id)

    async def read() -> list[StateSnapshot]:
        async with _opened(thread, made_for) as graph:
            return await read_history(
                graph,
                config,
                filter=dict(metadata) if metadata else None,
                before=_before(before),
                limit=limit,
            )

    return _read(thread, read(), [])


def _read(thread: Thread, reading: Coroutine[Any, Any, T], nothing: T) -> T:
    try:
        return shared_loop().run(reading)
    except GraphNotBuilt:
        # The first run of the thread failed for the same reason, so there is no state.
        if thread.values is not None:
            raise
        return nothing


def _graph_id(thread: Thread) -> str | None:
    """The graph that can read the thread's state. None if it has no state.

    Raises 422 if the graph is not served any more: without it the existing state can't
    be read.
    """
    graph_id = thread.metadata.get("graph_id")
    if graph_id in registry().graph_ids:
        return str(graph_id)
    if graph_id is None or thread.values is None:
        return None
    raise Unprocessable(f"graph '{graph_id}' is no longer in langgraph.json")


def _stateless(config: RunnableConfig, checkpoint: CheckpointRef) -> StateSnapshot:
    """An empty state, which echoes the requested checkpoint."""
    return EMPTY if checkpoint.is_newest else EMPTY._replace(config=config)


def _before(checkpoint_id: str | None) -> RunnableConfig | None:
    if checkpoint_id is None:
        return None
    return {"configurable": {"checkpoint_id": checkpoint_id}}


def _opened(
    thread: Thread,
    made_for: RunnableConfig,
    access: AccessContext = "threads.read",
    *,
    graph_id: str | None = None,
) -> AbstractAsyncContextManager[Graph]:
    return registry().look_into(
        graph_id or thread.metadata["graph_id"],
        made_for,
        access=access,
        checkpointer=saver(shared_loop().pool),
        store=PostgresStore(shared_loop().pool, thread.owner),
    )


def _made_for(thread: Thread, graph_id: str) -> RunnableConfig:
    """The config for a factory to rebuild the graph that wrote the thread's state."""
    if graph_id not in registry().graph_ids or not registry().takes_config(graph_id):
        return {}
    config = hooks.config_of_newest_run(thread.id, graph_id)
    if config is not None:
        return config
    made_for: Any = {**thread.config}
    ids = {"thread_id": str(thread.id), "graph_id": graph_id}
    made_for["configurable"] = {**of_client(thread.config.get("configurable")), **ids}
    return made_for  # type: ignore[no-any-return]


def _config(
    thread_id: UUID | str, checkpoint: CheckpointRef = NEWEST
) -> RunnableConfig:
    configurable: dict[str, Any] = {
        "checkpoint_ns": checkpoint.namespace or "",
        "thread_id": str(thread_id),
    }
    if checkpoint.id:
        # It may come from a path, which is not cleaned yet: Postgres refuses NUL.
        configurable["checkpoint_id"] = clean_text(checkpoint.id)
    if checkpoint.map:
        configurable["checkpoint_map"] = checkpoint.map
    return {"configurable": configurable}


# --- Writing -----------------------------------------------------------------------
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
    config = _config(thread.id, checkpoint)
    # Metadata to filter history by. No `run_id`, as that run's deletion must keep
    # these.
    kept = {key: v for key, v in locked.metadata.items() if key != "run_id"}
    config["metadata"] = kept
    steps = [list(step) for step in updates]
    work = _update(locked, _made_for(locked, graph_id), config, steps)
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
        # Before taking a connection, since factories may be slow and connections are
        # few.
        _opened(thread, made_for, "threads.update") as made,
        shared_loop().pool.connection() as conn,
        conn.transaction(),
    ):
        graph = made.copy(update={"checkpointer": EditSaver(conn)})
        checkpoint_id = config["configurable"].get("checkpoint_id")
        if checkpoint_id and await saver(conn).aget_tuple(config) is None:
            # LangGraph would start from an empty state, and the thread's would be lost.
            raise NotFound(f"Checkpoint {checkpoint_id} not found")
        updated = await _in_time(graph.abulk_update_state(config, steps))
        newest = _config(config["configurable"]["thread_id"])
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
