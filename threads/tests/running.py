"""Runs graphs on a thread without a worker, to give it a state."""

from __future__ import annotations

from typing import Any

from django.db import connection

from spool.assistants.graphs import registry
from spool.database.loop import shared_loop
from spool.threads.checkpoints import saver
from spool.threads.models import Thread
from spool.threads.state_form import cached_columns


def run_graph(thread: Thread, value: Any) -> None:
    """Run the thread's graph, and store the outcome in its row as a run's end does."""
    graph_id = thread.metadata["graph_id"]
    config: Any = {"configurable": {"thread_id": str(thread.id)}}

    async def drive() -> dict[str, Any]:
        checkpointer = saver(shared_loop().pool)
        opened = registry().open(graph_id, config, checkpointer=checkpointer)
        async with opened as graph:
            await graph.ainvoke(value, config)
            return cached_columns(await graph.aget_state(config))

    columns = shared_loop().run(drive())
    columns["resting_status"] = columns["status"]
    Thread.objects.filter(pk=thread.pk).update(**columns)


def make_thread(graph_id: str, value: Any = None, owner: str = "alice") -> Thread:
    metadata = {"graph_id": graph_id, "owner": owner}
    thread = Thread.objects.create(metadata=metadata)
    if value is not None:
        run_graph(thread, value)
    return thread


def checkpoint_rows(*threads: Thread) -> dict[str, int]:
    """The number of rows of state of these threads, by table."""
    ids = [str(thread.id) for thread in threads]
    counts = {}
    with connection.cursor() as cursor:
        for table in ("checkpoints", "checkpoint_blobs", "checkpoint_writes"):
            cursor.execute(
                f"SELECT count(*) FROM {table} WHERE thread_id = ANY(%s)",  # noqa: S608
                [ids],
            )
            counts[table] = cursor.fetchone()[0]
    return counts
