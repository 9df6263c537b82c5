"""Ends runs: for the worker that holds a run, or directly if none does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from django.db import connection, transaction
from django.db.models.functions import Now
from psycopg import errors

from spool.database.json import jsonb
from spool.database.pool import Pool
from spool.runs.lifecycle.claiming import SEQS_OF_ATTEMPT, Claim, Claimant
from spool.runs.models import Run
from spool.runs.record import NOTHING, Record
from spool.threads.models import Thread
from spool.threads.saves import Saves

# Ends a run and writes all that belongs to its end; see `migrations`.
END = """
SELECT * FROM spool_end_1(
    %(run_id)s, %(thread_id)s, %(attempt)s, %(from_status)s, %(heeds_rollback)s,
    %(ending)s, %(written)s, %(saves)s, %(blobs)b, %(worker_id)s, %(max_per_group)s,
    %(max_per_graph)s, %(revisions)s
)
"""
NO_CLAIM: dict[str, Any] = {
    "worker_id": None,
    "max_per_group": None,
    "max_per_graph": None,
    "revisions": None,
}


@dataclass(frozen=True)
class Outcome:
    """How a run ended. If `status` is None, the run is rolled back.

    `state` is `threads.state_form.cached_columns` of the thread's newest checkpoint; without
    it the thread's row keeps its state. `output` holds the values that viewers get, and
    `end_data` the other data of its end, see `writer.last_events`. `settles` is false for a
    run that never started. `asked_in` has the namespaces of its interrupts, where they
    are known, and `event_seq` is the number of its last event, if a worker knows it.
    """

    status: str | None
    error: dict[str, str] | None = None
    state: Mapping[str, Any] | None = None
    settles: bool = True
    output: Any = None
    end_data: Mapping[str, Any] = field(default_factory=dict)
    asked_in: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    event_seq: int | None = None

    @property
    def as_json(self) -> dict[str, Any]:
        """The argument `ending` of `spool_end_1`."""
        state = self.state or {}
        failed = self.status in (Run.Status.ERROR, Run.Status.TIMEOUT)
        resting = state.get("status", Thread.Status.IDLE)
        ending = {
            "status": self.status,
            "error": self.error,
            "settles": self.settles,
            "resting_status": Thread.Status.ERROR if failed else resting,
            "event_seq": self.event_seq,
            "seqs_of_attempt": SEQS_OF_ATTEMPT,
        }
        if self.state is not None:
            for column in ("values", "interrupts", "interrupt_order"):
                ending[column] = state.get(column)
        return ending


@dataclass(frozen=True)
class Ended:
    """What to do once the end of a run is committed."""

    # The next run on the thread.
    next_run_id: UUID | None = None
    delivery_id: UUID | None = None
    # The highest event number of the thread that is known to be used.
    event_seq: int | None = None
    # Whether the worker's next run was requested from the queue, and that run.
    has_asked: bool = False
    claim: Claim | None = None

    def has_news(self, taken: UUID | None) -> bool:
        """Whether to send messages, if the worker continues with the run `taken`."""
        is_left = self.next_run_id is not None and self.next_run_id != taken
        return is_left or self.delivery_id is not None

    @classmethod
    def of(cls, row: dict[str, Any], *, has_asked: bool = False) -> Ended:
        """The end that `spool_end_1` returned as a row."""
        del row["ended_thread_id"]
        return cls(
            row.pop("next_run_id"),
            row.pop("delivery_id"),
            row.pop("ended_event_seq"),
            has_asked,
            Claim.of(row) if row["id"] else None,
        )


async def end(
    pool: Pool,
    held: Claim,
    outcome: Outcome,
    written: Record = NOTHING,
    *,
    saves: Saves | None = None,
    claimant: Claimant | None = None,
) -> Ended | None:
    """End a run that this worker holds, with its record and its last saves.

    With a `claimant` it also claims the next run of the queue. Returns None if the
    worker does not hold the run any more, or must roll it back instead.
    """
    params = (saves or Saves()).params | {
        "run_id": held.id,
        "thread_id": held.thread_id,
        "attempt": held.attempt,
        "from_status": Run.Status.RUNNING,
        "heeds_rollback": True,
        "ending": jsonb(outcome.as_json),
        "written": jsonb(written.as_json),
    }
    try:
        return await _end(pool, params, claimant)
    except errors.UniqueViolation:
        if claimant is None:
            raise
        # Another run of the next run's thread started just now.
        return await _end(pool, params, None)


async def _end(
    pool: Pool, params: dict[str, Any], claimant: Claimant | None
) -> Ended | None:
    params |= claimant.params if claimant else NO_CLAIM
    row = await pool.fetch_one(END, params)
    return Ended.of(row, has_asked=claimant is not None) if row else None


@transaction.atomic
def end_here(run: Run, outcome: Outcome) -> Ended | None:
    """End a run that no worker holds. Returns None if the run has changed meanwhile."""
    params = {
        **NO_CLAIM,
        "run_id": run.id,
        "thread_id": run.thread_id,
        "attempt": run.attempt,
        "from_status": run.status,
        "heeds_rollback": False,
        "ending": jsonb(outcome.as_json),
        "written": jsonb(NOTHING.as_json),
        "saves": None,
        "blobs": None,
    }
    with connection.cursor() as cursor:
        cursor.execute(END, params)
        row = cursor.fetchone()
        names = [column.name for column in cursor.description or ()]
    return Ended.of(dict(zip(names, row, strict=True))) if row else None


def request_stop(run: Run, action: str, reason: str) -> bool:
    """Write to a run's row that its worker must stop it, how (`action`) and why.

    An earlier request to roll back is kept: it takes precedence.
    """
    active = Run.objects.filter(pk=run.pk).active()
    if action != Run.CancelAction.ROLLBACK:
        active = active.exclude(cancel_action=Run.CancelAction.ROLLBACK)
    return bool(
        active.update(cancel_action=action, cancel_reason=reason, updated_at=Now())
    )


def note_reason(run: Run, reason: str) -> None:
    """Write why a pending run is about to be stopped. The caller locks its thread."""
    Run.objects.filter(pk=run.pk).pending().update(cancel_reason=reason)


NOTE_REASON = """
UPDATE runs SET cancel_reason = %(reason)s
WHERE id = %(run_id)s AND attempt = %(attempt)s AND status = 'running'
    AND cancel_action IS NULL
"""


async def note_reason_of(pool: Pool, held: Claim, reason: str) -> None:
    """Write why a run is stopped by the worker that holds it."""
    params = {"run_id": held.id, "attempt": held.attempt, "reason": reason}
    async with pool.connection() as conn:
        await conn.execute(NOTE_REASON, params)
