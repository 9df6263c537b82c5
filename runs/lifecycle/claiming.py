"""Claims pending runs, and checks whether a worker still holds its run."""

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
from spool.database.pool import Pool
from spool.runs.run_request import RunKwargs

# An upper bound on the number of events in one attempt of a run.
SEQS_OF_ATTEMPT = 2**24


# The given run, or the next one in the queue.
CLAIM = """
SELECT * FROM spool_claim_1(
    %(run_id)s, %(worker_id)s, %(hint)s, %(max_per_group)s, %(max_per_graph)s,
    %(revisions)s
)
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
    kwargs: RunKwargs
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
    # False if the thread has no checkpoint yet.
    has_checkpoints: bool = True

    @classmethod
    def of(cls, row: dict[str, Any]) -> Claim:
        """The claim that `spool_claim_1` returned as a row."""
        kwargs = RunKwargs.from_json(row["kwargs"] | (row.pop("given") or {}))
        return cls(**{**row, "kwargs": kwargs, "revision": row["revision"] or ""})

    @property
    def identity(self) -> str:
        """The identity that created the run; "" without authentication."""
        return str((self.user or {}).get("identity") or self.owner)

    @property
    def used_seq(self) -> int:
        """An upper bound on the event numbers used so far, not considering Redis.

        The number of events that an attempt published is known only if it ended.
        """
        return self.event_seq + (self.attempt - 1) * SEQS_OF_ATTEMPT


@dataclass(frozen=True)
class Claimant:
    """A worker that claims runs. `revisions` are those of the graphs it serves."""

    worker_id: UUID
    revisions: Mapping[str, str]

    @property
    def params(self) -> dict[str, Any]:
        return {
            "worker_id": self.worker_id,
            "max_per_group": settings.MAX_RUNNING_PER_OWNER,
            "max_per_graph": settings.MAX_RUNNING_PER_GRAPH,
            "revisions": jsonb(dict(self.revisions)),
        }


async def claim(
    pool: Pool,
    run_id: UUID | None,
    worker_id: UUID,
    *,
    hint: UUID | None = None,
    revisions: Mapping[str, str] = MappingProxyType({}),
) -> Claim | None:
    """Claim a pending run whose turn it is; without `run_id`, the next in the queue.

    Returns None if there is none, or if another worker was first. `hint` is a run that
    may be missing from the queue; `revisions` are those of the graphs that this process
    serves.
    """
    params = Claimant(worker_id, revisions).params | {"run_id": run_id, "hint": hint}
    try:
        row = await pool.fetch_one(CLAIM, params)
    except errors.UniqueViolation:  # Another run of the thread started just now.
        return None
    return Claim.of(row) if row else None


async def is_held(pool: Pool, held: Claim) -> bool:
    """Whether this worker still holds the run."""
    params = {"run_id": held.id, "attempt": held.attempt}
    async with pool.connection() as conn:
        return await (await conn.execute(IS_HELD, params)).fetchone() is not None


async def is_gone(pool: Pool, run_id: UUID) -> bool:
    """Whether a run was deleted, by itself or with its thread."""
    async with pool.connection() as conn:
        found = await conn.execute("SELECT id FROM runs WHERE id = %s", [run_id])
        return await found.fetchone() is None
