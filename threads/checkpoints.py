"""The checkpointer: langgraph-checkpoint-postgres over Spool's pools."""

from __future__ import annotations

from collections.abc import Iterable
from uuid import UUID

from django.db import connection
from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver

from config.loop import Pool

TABLES = ("checkpoints", "checkpoint_blobs", "checkpoint_writes")


def saver(pool: Pool) -> AsyncPostgresSaver:
    """A checkpointer for one run or one read. Make it on the loop that owns `pool`.

    Savers are cheap and serialize their statements with a lock of their own, so each
    piece of work gets one.
    """
    return AsyncPostgresSaver(pool)


def delete_checkpoints(thread_ids: Iterable[UUID]) -> None:
    """Delete all state of these threads, in the caller's transaction."""
    ids = [str(thread_id) for thread_id in thread_ids]
    with connection.cursor() as cursor:
        for table in TABLES:
            cursor.execute(f"DELETE FROM {table} WHERE thread_id = ANY(%s)", [ids])  # noqa: S608
