"""Pending runs that become running ones, and whether a worker still holds its run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Any
from uuid import UUID

from django.conf import settings
from psycopg import errors

from spool.database.json import jsonb
from spool.database.loop import Pool
from spool.runs.lifecycle.turns import FIRST

# An upper bound on the number of events in one attempt of a run.
SEQS_OF_ATTEMPT = 2**24


# The given run, or the next one in the queue.
CLAIM = f"""
WITH chosen AS (
    SELECT coalesce(%(run_id)s::uuid, spool_next_run_1(
        %(worker_id)s, %(hint)s::uuid, %(max_per_group)s, %(max_per_graph)s
    )) AS run_id
)
UPDATE runs SET status = 'running', attempt = attempt + 1, worker_id = %(worker_id)s,
    started_at = coalesce(started_at, clock_timestamp()), claimed_at = clock_timestamp(),
    updated_at = clock_timestamp(),
    revision = %(revisions)s::jsonb ->> graph_id
WHERE id = (SELECT run_id FROM chosen) AND status = 'pending'
    AND created_at <= clock_timestamp()
    AND EXISTS (SELECT FROM workers WHERE id = %(worker_id)s AND expired_at IS NULL)
    AND {FIRST}
RETURNING id, thread_id, assistant_id, graph_id, metadata, kwargs, given, is_temporary,
    owner, "user", attempt, cancel_action, api_key_id, revision, created_at, claimed_at,
    dispatched_at, trace_context,
    (SELECT created_at FROM threads WHERE threads.id = runs.thread_id)
        AS thread_created_at,
    (SELECT event_seq FROM threads WHERE threads.id = runs.thread_id) AS event_seq
"""

IS_HELD = """
SELECT id FROM runs
WHERE id = %(run_id)s AND attempt = %(attempt)s AND status = 'running'
"""


@dataclass(frozen=True)
class Claim:
    """A run that this worker holds in this attempt, with all data to execute it."""

    id: UUID
    thread_id: UUID
    assistant_id: UUID
    graph_id: str
    metadata: dict[str, Any]
    kwargs: dict[str, Any]
    is_temporary: bool
    owner: str
    user: dict[str, Any] | None
    attempt: int
    cancel_action: str | None
    thread_created_at: datetime
    api_key_id: UUID | None
    revision: str
    created_at: datetime
    claimed_at: datetime
    dispatched_at: datetime | None = None
    # See `telemetry.traces`.
    trace_context: dict[str, str] | None = None
    # The last event number of the thread, as stored when a run last ended.
    event_seq: int = 0

    @property
    def identity(self) -> str:
        """The identity that created the run; "" without authentication."""
        return str((self.user or {}).get("identity") or self.owner)

    @property
    def used_seq(self) -> int:
        """An upper bound on event numbers that were used, except for those in Redis.

        How many events an attempt published is known only if it ended.
        """
        return self.event_seq + (self.attempt - 1) * SEQS_OF_ATTEMPT


async def claim(
    pool: Pool,
    run_id: UUID | None,
    worker_id: UUID,
    *,
    hint: UUID | None = None,
    revisions: Mapping[str, str] = MappingProxyType({}),
) -> Claim | None:
    """Take a pending run whose turn it is; without `run_id` the next of the queue.

    Returns None if there is none, or another worker was first. `hint` is a run that may
    be missing in the queue; `revisions` are those of the graphs that this process
    serves.
    """
    params = {
        "run_id": run_id,
        "worker_id": worker_id,
        "hint": hint,
        "max_per_group": settings.MAX_RUNNING_PER_OWNER,
        "max_per_graph": settings.MAX_RUNNING_PER_GRAPH,
        "revisions": jsonb(dict(revisions)),
    }
    try:
        async with pool.connection() as conn:
            row = await (await conn.execute(CLAIM, params)).fetchone()
    except errors.UniqueViolation:  # Another run of the thread started just now.
        return None
    if row is None:
        return None
    row["kwargs"] |= row.pop("given") or {}
    return Claim(**{**row, "revision": row["revision"] or ""})


async def is_held(pool: Pool, held: Claim) -> bool:
    """Whether this worker still holds the run."""
    params = {"run_id": held.id, "attempt": held.attempt}
    async with pool.connection() as conn:
        return await (await conn.execute(IS_HELD, params)).fetchone() is not None


async def is_gone(pool: Pool, run_id: UUID) -> bool:
    """Whether a run was deleted, alone or with its thread."""
    async with pool.connection() as conn:
        found = await conn.execute("SELECT id FROM runs WHERE id = %s", [run_id])
        return await found.fetchone() is None
