"""Deletes, copies, prunes and measures the rows of checkpoints, by thread.

The tables are langgraph-checkpoint-postgres's; see `threads.checkpoints`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import connection
from psycopg.errors import DeadlockDetected, SerializationFailure

from spool.database.pool import Pool
from spool.threads.checkpoints import NEWEST_RUN, UNDO, saver

TABLES = ("checkpoints", "checkpoint_blobs", "checkpoint_writes")


def delete_checkpoints(thread_ids: Iterable[UUID]) -> None:
    """Delete all state of these threads, in the caller's transaction."""
    ids = [str(thread_id) for thread_id in thread_ids]
    with connection.cursor() as cursor:
        for table in TABLES:
            cursor.execute(f"DELETE FROM {table} WHERE thread_id = ANY(%s)", [ids])


def undo_run(thread_id: UUID, run_id: UUID) -> bool:
    """Undo what a run saved, in the caller's transaction.

    The run's row is already deleted, so that the run can't save anything more. Returns
    whether the run had saved the thread's newest state.
    """
    params = {"thread_id": str(thread_id), "run_id": str(run_id)}
    with connection.cursor() as cursor:
        cursor.execute(NEWEST_RUN, [str(thread_id)])
        newest = cursor.fetchone()
        for statement in UNDO:
            cursor.execute(statement, params)
    return bool(newest == (str(run_id),))


def has_checkpoint(thread_id: UUID, checkpoint_id: str) -> bool:
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT EXISTS (
                SELECT FROM checkpoints WHERE thread_id = %s AND checkpoint_id = %s
            )""",
            [str(thread_id), checkpoint_id],
        )
        (answer,) = cursor.fetchone()
        return bool(answer)


def needs_all_its_checkpoints(thread_id: UUID) -> bool:
    return bool(with_differences([thread_id]))


def with_differences(thread_ids: Iterable[UUID]) -> list[str]:
    """Threads with a DeltaChannel: their later states are built from earlier ones."""
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT id FROM unnest(%s::text[]) AS id WHERE EXISTS (
                SELECT FROM checkpoints WHERE thread_id = id AND metadata ?|
                    array['counters_since_delta_snapshot', 'delta_writes_versioned']
            )""",
            [[str(thread_id) for thread_id in thread_ids]],
        )
        return [thread_id for (thread_id,) in cursor.fetchall()]


async def keep_latest(pool: Pool, thread_id: UUID) -> None:
    """Delete all state of a thread except the newest.

    Raises `NotImplementedError` for a thread with a DeltaChannel, whose newest state
    is built from earlier ones.
    """
    for attempt in range(1, PRUNE_ATTEMPTS + 1):
        try:
            await saver(pool).aprune([str(thread_id)], strategy="keep_latest")
            return
        except (SerializationFailure, DeadlockDetected):
            # Conflicts with the last save of a stopped run, or with a deletion.
            if attempt == PRUNE_ATTEMPTS:
                raise


PRUNE_ATTEMPTS = 5


# A single statement reads all three tables in one snapshot, even while a run saves.
COPY = """
WITH copied AS (
    INSERT INTO checkpoints (thread_id, checkpoint_ns, checkpoint_id,
        parent_checkpoint_id, type, checkpoint, metadata)
    SELECT %(target)s, checkpoint_ns, checkpoint_id, parent_checkpoint_id, type,
        checkpoint, CASE WHEN metadata ? 'thread_id'
            THEN metadata || jsonb_build_object('thread_id', %(target)s::text)
            ELSE metadata END
    FROM checkpoints WHERE thread_id = %(source)s
), blobs AS (
    INSERT INTO checkpoint_blobs
        (thread_id, checkpoint_ns, channel, version, type, blob)
    SELECT %(target)s, checkpoint_ns, channel, version, type, blob
    FROM checkpoint_blobs WHERE thread_id = %(source)s
)
INSERT INTO checkpoint_writes (thread_id, checkpoint_ns, checkpoint_id, task_id, idx,
    channel, type, blob, task_path)
SELECT %(target)s, checkpoint_ns, checkpoint_id, task_id, idx, channel, type, blob,
    task_path
FROM checkpoint_writes WHERE thread_id = %(source)s
"""


def copy_checkpoints(source: UUID, target: UUID) -> None:
    """Copy all state of a thread to another, in the caller's transaction."""
    with connection.cursor() as cursor:
        cursor.execute(COPY, {"source": str(source), "target": str(target)})


SIZES = """
SELECT 'checkpoints' AS part, NULL AS channel, count(*),
    coalesce(sum(pg_column_size(c.*)), 0)
FROM checkpoints c WHERE thread_id = %(thread_id)s
UNION ALL
SELECT 'channel_values', channel, count(*), coalesce(sum(octet_length(blob)), 0)
FROM checkpoint_blobs WHERE thread_id = %(thread_id)s GROUP BY channel
UNION ALL
SELECT 'pending_writes', NULL, count(*), coalesce(sum(octet_length(blob)), 0)
FROM checkpoint_writes WHERE thread_id = %(thread_id)s
"""


def storage(thread_id: UUID) -> dict[str, Any]:
    """The size of a thread's state, in rows and bytes, by kind and by channel."""
    with connection.cursor() as cursor:
        cursor.execute(SIZES, {"thread_id": str(thread_id)})
        rows = cursor.fetchall()
    sizes = {
        part: {
            "count": sum(row[2] for row in rows if row[0] == part),
            "bytes": int(sum(row[3] for row in rows if row[0] == part)),
        }
        for part in ("checkpoints", "channel_values", "pending_writes")
    }
    by_channel = {
        channel: {"versions": count, "bytes": int(size)}
        for part, channel, count, size in rows
        if part == "channel_values"
    }
    return {
        "thread_id": thread_id,
        "total_bytes": sum(size["bytes"] for size in sizes.values()),
        **sizes,
        "channel_values": {**sizes["channel_values"], "by_channel": by_channel},
    }


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A row of a thread's history, without its values."""

    namespace: str
    checkpoint_id: str
    parent_id: str | None
    created_at: datetime | None
    step: int | None
    source: str | None
    run_id: str | None
    # How many checkpoints continue from this one. If there are several, it is a fork
    # point.
    children: int


HISTORY = """
WITH forks AS (
    SELECT parent_checkpoint_id AS id, count(*) AS children FROM checkpoints
    WHERE thread_id = %(thread_id)s AND checkpoint_ns = '' GROUP BY 1
)
SELECT checkpoint_ns, checkpoint_id, parent_checkpoint_id,
    (checkpoint ->> 'ts')::timestamptz, (metadata ->> 'step')::int,
    metadata ->> 'source', metadata ->> 'run_id', coalesce(forks.children, 0)
FROM checkpoints LEFT JOIN forks ON forks.id = checkpoint_id
WHERE thread_id = %(thread_id)s AND checkpoint_ns = ''
    AND (%(before)s::text IS NULL OR checkpoint_id < %(before)s)
ORDER BY checkpoint_id DESC LIMIT %(limit)s
"""


def checkpoints_before(
    thread_id: UUID, before: str | None, limit: int
) -> list[Checkpoint]:
    """Up to `limit` checkpoints of a thread's root graph, newest first.

    Only those before the checkpoint `before`, unless it is None.
    """
    params = {"thread_id": str(thread_id), "before": before, "limit": limit}
    with connection.cursor() as cursor:
        cursor.execute(HISTORY, params)
        return [Checkpoint(*row) for row in cursor.fetchall()]


@dataclass(frozen=True, slots=True)
class Begin:
    """Where a run began: the checkpoint before it, or the one that holds its input."""

    checkpoint_id: str
    has_input: bool


BEGIN = """
SELECT parent_checkpoint_id, checkpoint_id, metadata ->> 'source'
FROM checkpoints
WHERE thread_id = %s AND checkpoint_ns = '' AND metadata ->> 'run_id' = %s
ORDER BY checkpoint_id LIMIT 1
"""


def begin_of_run(thread_id: UUID, run_id: UUID) -> Begin | None:
    """Where a run can be started again. None if that checkpoint does not exist.

    A run that began on an empty thread has no checkpoint before it. Its first
    checkpoint then holds its input, unless it saved nothing before its end
    (`durability: exit`).
    """
    with connection.cursor() as cursor:
        cursor.execute(BEGIN, [str(thread_id), str(run_id)])
        found = cursor.fetchone()
    if found is None:
        return None
    parent_id, first_id, source = found
    if parent_id:
        return Begin(parent_id, has_input=False)
    return Begin(first_id, has_input=True) if source == "input" else None
