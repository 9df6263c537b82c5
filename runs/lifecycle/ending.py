"""How runs end: by their worker, or here if no worker holds them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from django.db import connection, transaction
from django.db.models.functions import Now

from spool.database.json import jsonb
from spool.database.loop import Pool
from spool.runs import record
from spool.runs.lifecycle.claiming import SEQS_OF_ATTEMPT, Claim
from spool.runs.lifecycle.locks import LOCK, lock_thread
from spool.runs.lifecycle.turns import NEXT
from spool.runs.models import Run, RunAttempt
from spool.runs.record import NOTHING, Record
from spool.threads.models import Thread

# What the end of a run changes on its thread: which run is next, and, if the run did
# `settle` the thread, its new state at rest.
_AFTER = """
waiting AS (
    SELECT runs.id, runs.created_at FROM runs, ended
    WHERE runs.thread_id = ended.thread_id AND runs.status = 'pending'
        AND runs.id <> ended.id
    ORDER BY runs.created_at, runs.id LIMIT 1
), busy AS (
    SELECT FROM waiting
    UNION ALL
    SELECT FROM runs, ended
    WHERE runs.thread_id = ended.thread_id AND runs.status = 'running'
        AND runs.id <> ended.id
), turn AS (
    UPDATE runs SET dispatched_at = clock_timestamp()
    FROM waiting
    WHERE runs.id = waiting.id AND waiting.created_at <= clock_timestamp()
    RETURNING runs.id, runs.graph_id, runs.fairness_group
), queued AS (
    INSERT INTO run_queue (graph_id, fairness_group, since)
    SELECT graph_id, fairness_group, clock_timestamp() FROM turn
    ON CONFLICT DO NOTHING
), thread AS (
    UPDATE threads SET
        status = CASE WHEN EXISTS (SELECT FROM busy) THEN 'busy'
            WHEN %(settles)s THEN %(resting_status)s ELSE resting_status END,
        resting_status =
            CASE WHEN %(settles)s THEN %(resting_status)s ELSE resting_status END,
        error = CASE WHEN %(settles)s THEN %(error)s ELSE threads.error END,
        values = CASE WHEN %(state)s THEN %(values)s ELSE values END,
        interrupts = CASE WHEN %(state)s THEN %(interrupts)s ELSE interrupts END,
        interrupt_order =
            CASE WHEN %(state)s THEN %(interrupt_order)s ELSE interrupt_order END,
        state_updated_at =
            CASE WHEN %(state)s THEN clock_timestamp() ELSE state_updated_at END,
        updated_at = clock_timestamp(),
        -- A run may take longer than its thread has to live.
        expires_at = clock_timestamp() + make_interval(secs => 60 * ttl_minutes),
        discarded_at = CASE WHEN ended.is_temporary THEN clock_timestamp() END,
        event_seq = greatest(event_seq, %(event_seq)s::bigint,
            CASE WHEN %(event_seq)s::bigint IS NULL
                THEN event_seq + ended.attempt * %(seqs_of_attempt)s + 1 END)
    FROM ended WHERE threads.id = ended.thread_id
    RETURNING threads.event_seq
)"""

_RECORD_END = record.ended_as(
    "ended.status", error="ended.error", status="%(from_status)s"
)
_RECORD_ROLLBACK = record.ended_as(
    f"'{RunAttempt.Outcome.ROLLED_BACK}'", status="%(from_status)s"
)

END = f"""
WITH ended AS (
    UPDATE runs SET status = %(status)s, error = %(error)s,
        ended_at = clock_timestamp(), updated_at = clock_timestamp()
    WHERE id = %(run_id)s AND attempt = %(attempt)s AND status = %(from_status)s
        AND NOT (%(heeds_rollback)s AND coalesce(cancel_action, '') = 'rollback')
    RETURNING *
), {_AFTER}, outbox AS (
    INSERT INTO webhook_deliveries
        (id, run_id, thread_id, url, payload, attempts, last_error, trace_context)
    SELECT gen_random_uuid(), ended.id, ended.thread_id, ended.kwargs ->> 'webhook',
        jsonb_strip_nulls(jsonb_build_object('error', ended.error))
        || jsonb_build_object(
            'run_id', ended.id, 'thread_id', ended.thread_id,
            'assistant_id', ended.assistant_id, 'metadata', ended.metadata,
            'status', ended.status, 'kwargs',
            ended.kwargs || coalesce(ended.given::jsonb, '{{}}'),
            'multitask_strategy', ended.multitask_strategy,
            'created_at', ended.created_at, 'updated_at', ended.updated_at,
            'run_started_at', ended.started_at, 'run_ended_at', ended.ended_at,
            'values', CASE WHEN ended.is_temporary THEN NULL WHEN %(state)s THEN %(values)s
                ELSE (SELECT values FROM threads WHERE id = ended.thread_id) END
        ), 0, '', ended.trace_context
    FROM ended WHERE ended.kwargs ->> 'webhook' IS NOT NULL
    RETURNING id
), pushes AS (
    INSERT INTO webhook_deliveries
        (id, run_id, thread_id, url, payload, attempts, last_error, push_config_id,
            trace_context)
    SELECT gen_random_uuid(), ended.id, ended.thread_id, push_configs.url, '{{}}', 0, '',
        push_configs.id, ended.trace_context
    FROM ended JOIN push_configs
        ON push_configs.first_run_id = coalesce(ended.first_run_id, ended.id)
    RETURNING id
), {_RECORD_END}
SELECT ended.thread_id, (SELECT id FROM turn) AS next_run_id,
    ({NEXT}) AS other_run_id, (
        SELECT id FROM (TABLE outbox UNION ALL TABLE pushes) AS waiting LIMIT 1
    ) AS delivery_id,
    (SELECT event_seq FROM thread) AS event_seq
FROM ended
"""

# The end of a run that is rolled back: its row is deleted.
DISCARD = f"""
WITH ended AS (
    DELETE FROM runs
    WHERE id = %(run_id)s AND attempt = %(attempt)s AND status = %(from_status)s
    RETURNING *
), {_AFTER}, {_RECORD_ROLLBACK}
SELECT ended.thread_id, (SELECT id FROM turn) AS next_run_id,
    ({NEXT}) AS other_run_id, NULL AS delivery_id,
    (SELECT event_seq FROM thread) AS event_seq
FROM ended
"""


@dataclass(frozen=True)
class Outcome:
    """How a run ended. `status` None: the run is rolled back.

    `state` is `threads.state.cached_columns` of the thread's newest checkpoint; without
    it the thread's row keeps its state. `output` holds the values that viewers get, and
    `told` the other data of its end, see `writer.last_events`. `settles` is false for a
    run that never started. `asked_in` has the namespaces of its interrupts, where they
    are known, and `event_seq` is the number of its last event, if a worker knows it.
    """

    status: str | None
    error: dict[str, str] | None = None
    state: Mapping[str, Any] | None = None
    settles: bool = True
    output: Any = None
    told: Mapping[str, Any] = field(default_factory=dict)
    asked_in: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    event_seq: int | None = None

    @property
    def statement(self) -> str:
        return END if self.status else DISCARD

    @property
    def params(self) -> dict[str, Any]:
        state = self.state or {}
        failed = self.status in (Run.Status.ERROR, Run.Status.TIMEOUT)
        resting = state.get("status", Thread.Status.IDLE)
        return {
            "status": self.status,
            "error": None if self.error is None else jsonb(self.error),
            "settles": self.settles,
            "resting_status": Thread.Status.ERROR if failed else resting,
            "state": self.state is not None,
            "values": jsonb(state.get("values")),
            "interrupts": jsonb(state.get("interrupts")),
            "interrupt_order": jsonb(state.get("interrupt_order")),
            "event_seq": self.event_seq,
            "seqs_of_attempt": SEQS_OF_ATTEMPT,
        }


@dataclass(frozen=True)
class Ended:
    """What to send once the end of a run is committed."""

    thread_id: UUID
    # The next run on this thread, and the longest waiting run of another thread.
    next_run_id: UUID | None = None
    other_run_id: UUID | None = None
    delivery_id: UUID | None = None
    # The highest event number of the thread that is known to be used.
    event_seq: int | None = None


async def end(
    pool: Pool, held: Claim, outcome: Outcome, written: Record = NOTHING
) -> Ended | None:
    """End a run that this worker holds, and write its record.

    Returns None if it does not hold the run any more, or must roll it back instead.
    """
    params = (
        outcome.params
        | written.params
        | {
            "run_id": held.id,
            "thread_id": held.thread_id,
            "attempt": held.attempt,
            "from_status": Run.Status.RUNNING,
            "heeds_rollback": True,
        }
    )
    async with pool.connection() as conn, conn.pipeline(), conn.transaction():
        await conn.execute(LOCK, params)
        row = await (await conn.execute(outcome.statement, params)).fetchone()
    return Ended(**row) if row else None


@transaction.atomic
def end_here(run: Run, outcome: Outcome) -> Ended | None:
    """End a run that no worker holds. Returns None if the run has changed since."""
    params = (
        outcome.params
        | NOTHING.params
        | {
            "run_id": run.id,
            "thread_id": run.thread_id,
            "attempt": run.attempt,
            "from_status": run.status,
            "heeds_rollback": False,
        }
    )
    lock_thread(run.thread_id)
    with connection.cursor() as cursor:
        cursor.execute(outcome.statement, params)
        row = cursor.fetchone()
    return Ended(*row) if row else None


def ask_to_stop(run: Run, action: str) -> bool:
    """Request through a run's row that its worker stop it, and say how.

    An earlier request to roll back is kept: it takes precedence.
    """
    active = Run.objects.filter(pk=run.pk).active()
    if action != Run.CancelAction.ROLLBACK:
        active = active.exclude(cancel_action=Run.CancelAction.ROLLBACK)
    return bool(active.update(cancel_action=action, updated_at=Now()))
