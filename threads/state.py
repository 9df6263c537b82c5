"""A thread's state: its checkpoints, as read by the graph that wrote them.

Graphs are asynchronous, so the work is done on the process's loop. Synchronous views
call the functions here, which wait for the result.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any, TypeVar
from uuid import UUID

from langchain_core.runnables import RunnableConfig
from langgraph.types import StateSnapshot
from langgraph_sdk.runtime import AccessContext

from spool.assistants.configurable import of_client
from spool.assistants.graphs import Graph, GraphNotBuilt, GraphNotFound, registry
from spool.database.json import clean_text
from spool.database.loop import shared_loop
from spool.store.backend import PostgresStore
from spool.threads import hooks
from spool.threads.checkpoints import saver
from spool.threads.models import Thread
from spool.threads.snapshots import output_of, read_history, read_state
from spool.threads.thread_request import NEWEST, CheckpointRef
from spool.web.errors import Unprocessable

T = TypeVar("T")

EMPTY = StateSnapshot({}, (), {"configurable": {}}, None, None, None, (), ())


def get_state(
    thread: Thread,
    *,
    checkpoint: CheckpointRef = NEWEST,
    subgraphs: bool = False,
) -> StateSnapshot:
    """The state of a checkpoint, the newest by default."""
    graph_id = _graph_id(thread)
    config = state_config(thread.id, checkpoint)
    if graph_id is None:
        return _stateless(config, checkpoint)
    made_for = factory_config(thread, graph_id)

    async def read() -> StateSnapshot:
        async with open_graph(thread, made_for) as graph:
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
    """As `get_output`, but of the newest checkpoint, for a thread with an active run.

    None if there is no checkpoint yet.
    """

    async def read(graph: Graph) -> Any:
        found = await read_state(graph, state_config(thread.id))
        return output_of(graph, found.values) if found.created_at else None

    return _output(thread, graph_id, read)


def _output(
    thread: Thread, graph_id: str, read: Callable[[Graph], Awaitable[Any]]
) -> Any:
    made_for = factory_config(thread, graph_id)

    async def opened() -> Any:
        async with open_graph(thread, made_for, graph_id=graph_id) as graph:
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
    """The states of the namespace of `checkpoint`, newest first.

    `before` is the id of a checkpoint: only earlier states are returned.
    """
    graph_id = _graph_id(thread)
    if graph_id is None:
        return []
    config = state_config(thread.id, checkpoint)
    made_for = factory_config(thread, graph_id)

    async def read() -> list[StateSnapshot]:
        async with open_graph(thread, made_for) as graph:
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
        # If there is no state, the first run has failed for the same reason.
        if thread.values is not None:
            raise
        return nothing


def _graph_id(thread: Thread) -> str | None:
    """The graph that can read the thread's state. None if it has no state.

    Raises 422 if the graph is no longer served, since the existing state can't be read
    without it.
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


def open_graph(
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


def factory_config(thread: Thread, graph_id: str) -> RunnableConfig:
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


def state_config(
    thread_id: UUID | str, checkpoint: CheckpointRef = NEWEST
) -> RunnableConfig:
    configurable: dict[str, Any] = {
        "checkpoint_ns": checkpoint.namespace or "",
        "thread_id": str(thread_id),
    }
    if checkpoint.id:
        # The id may come from a path, which is not cleaned: Postgres refuses NUL.
        configurable["checkpoint_id"] = clean_text(checkpoint.id)
    if checkpoint.map:
        configurable["checkpoint_map"] = checkpoint.map
    return {"configurable": configurable}
