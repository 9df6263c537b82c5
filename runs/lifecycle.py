"""The only module that writes `Run.status` and `Thread.status`.

    pending --claim--> running --end--> success | error | timeout | interrupted
       ^                  |
       +----hand back-----+        pending --cancel--> interrupted

A move is one guarded statement, which returns whether it changed a row. Losing a race
is an expected result, not an error. A worker's moves name the attempt that it holds.

Decisions that depend on a thread's runs are made under a lock on the thread's row. A
separate statement takes the lock where the next one must see what was committed while
it waited: under READ COMMITTED, each statement takes a new snapshot.

The statements are run by Django's connection (web, tick) and by a worker's async pool.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import connection, transaction
from django.db.models.functions import Now
from psycopg import errors
from psycopg.types.json import Jsonb

from spool.access.scope import EVERYTHING, OWNED, Scope
from spool.database import prepared
from spool.database.json import from_jsonb, jsonb
from spool.database.loop import Pool
from spool.runs import record
from spool.runs.models import Run, RunAttempt
from spool.runs.record import NOTHING, Record
from spool.threads.models import Thread
from spool.threads.ttl import ttl_params

# An upper bound on the number of events in one attempt of a run.
SEQS_OF_ATTEMPT = 2**24

LOCK = "SELECT id FROM threads WHERE id = %(thread_id)s FOR UPDATE"

# `thread` reads the row as it is once the lock is held. On a busy thread the run waits
# for its turn, unless the only other runs are due later (`after_seconds`). The
# assistant must be unchanged since it was read.
CREATE = f"""
WITH assistant AS (
    SELECT FROM assistants
    WHERE id = %(assistant_id)s AND updated_at = %(assistant_updated_at)s::timestamptz
), thread AS (
    SELECT id, status, metadata FROM threads
    WHERE id = %(thread_id)s AND discarded_at IS NULL AND {OWNED}
    FOR UPDATE
), run AS (
    INSERT INTO runs (
        id, thread_id, assistant_id, graph_id, status, metadata, kwargs, given,
        multitask_strategy, is_temporary, owner, "user", run_class, api_key_id,
        fairness_group, queue_rank,
        attempt, losses, created_at, updated_at, dispatched_at, first_run_id
    )
    SELECT %(id)s, thread.id, %(assistant_id)s, %(graph_id)s, 'pending',
        %(assistant_metadata)s || thread.metadata || %(metadata)s, %(kwargs)s,
        %(given)s::json,
        %(multitask_strategy)s::text, %(is_temporary)s, %(owner)s, %(user)s::jsonb,
        %(run_class)s, %(api_key_id)s::uuid, %(fairness_group)s, %(queue_rank)s, 0, 0,
        clock_timestamp() + make_interval(secs => %(after_seconds)s::float8),
        clock_timestamp(),
        CASE WHEN %(after_seconds)s::float8 <= 0 AND NOT (
            thread.status = 'busy' AND EXISTS (
                SELECT FROM runs ahead WHERE ahead.thread_id = thread.id
                    AND ahead.status IN ('pending', 'running')
                    AND (ahead.status = 'running'
                        OR ahead.created_at <= clock_timestamp())
            )
        ) THEN clock_timestamp() END,
        -- A run that resumes another one goes on with its task.
        coalesce(%(first_run_id)s::uuid, CASE WHEN %(resumes)s THEN (
            SELECT resumed.first_run_id FROM runs resumed
            WHERE resumed.thread_id = thread.id
            ORDER BY resumed.created_at DESC, resumed.id DESC LIMIT 1
        ) END)
    FROM thread
    WHERE NOT (thread.status = 'busy' AND %(multitask_strategy)s::text = 'reject')
        AND (%(assistant_updated_at)s::timestamptz IS NULL
            OR EXISTS (SELECT FROM assistant))
    RETURNING thread_id, graph_id, fairness_group, metadata, created_at, updated_at,
        dispatched_at, first_run_id
), queued AS (
    INSERT INTO run_queue (graph_id, fairness_group, since)
    SELECT graph_id, fairness_group, dispatched_at FROM run
    WHERE dispatched_at IS NOT NULL
    ON CONFLICT DO NOTHING
), busy AS (
    UPDATE threads SET status = 'busy', updated_at = clock_timestamp(),
        metadata = threads.metadata || %(thread_metadata)s,
        config = threads.config || %(thread_config)s,
        ttl_strategy = CASE WHEN threads.ttl_minutes IS NULL
            THEN %(ttl_strategy)s ELSE threads.ttl_strategy END,
        ttl_minutes = coalesce(threads.ttl_minutes, %(ttl_minutes)s::float8),
        expires_at = clock_timestamp() + make_interval(
            secs => 60 * coalesce(threads.ttl_minutes, %(ttl_minutes)s::float8))
    FROM run WHERE threads.id = run.thread_id
)
SELECT EXISTS (SELECT FROM thread), EXISTS (SELECT FROM assistant),
    run.metadata::text, run.created_at, run.updated_at, run.dispatched_at,
    run.first_run_id
FROM (VALUES (1)) AS always LEFT JOIN run ON true
"""

# A condition on `runs`: no other run is ahead of it on its thread.
_FIRST = """NOT EXISTS (
    SELECT FROM runs ahead
    WHERE ahead.thread_id = runs.thread_id
        AND (ahead.status = 'running' OR ahead.status = 'pending'
            AND (ahead.created_at, ahead.id) < (runs.created_at, runs.id))
)"""

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
    AND {_FIRST}
RETURNING id, thread_id, assistant_id, graph_id, metadata, kwargs, given, is_temporary,
    owner, "user", attempt, cancel_action, api_key_id, revision, created_at, claimed_at,
    (SELECT created_at FROM threads WHERE threads.id = runs.thread_id)
        AS thread_created_at,
    (SELECT event_seq FROM threads WHERE threads.id = runs.thread_id) AS event_seq
"""

# The next run that any worker may take, longest waiting first.
NEXT = f"""
SELECT id FROM runs
WHERE status = 'pending' AND dispatched_at IS NOT NULL
    AND created_at <= clock_timestamp()
    AND {_FIRST}
ORDER BY dispatched_at LIMIT 1
"""

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

# Runs that end before a worker claims them have no attempt to record.
_IF_HELD = "WHERE %(from_status)s = 'running'"
_RECORD_END = record.ended_as("ended.status", error="ended.error", where=_IF_HELD)
_RECORD_ROLLBACK = record.ended_as(
    f"'{RunAttempt.Outcome.ROLLED_BACK}'", where=_IF_HELD
)
_RECORD_HAND_BACK = record.ended_as(f"'{RunAttempt.Outcome.HANDED_BACK}'")

END = f"""
WITH ended AS (
    UPDATE runs SET status = %(status)s, error = %(error)s,
        ended_at = clock_timestamp(), updated_at = clock_timestamp()
    WHERE id = %(run_id)s AND attempt = %(attempt)s AND status = %(from_status)s
        AND NOT (%(heeds_rollback)s AND coalesce(cancel_action, '') = 'rollback')
    RETURNING *
), {_AFTER}, outbox AS (
    INSERT INTO webhook_deliveries
        (id, run_id, thread_id, url, payload, attempts, last_error)
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
        ), 0, ''
    FROM ended WHERE ended.kwargs ->> 'webhook' IS NOT NULL
    RETURNING id
), pushes AS (
    INSERT INTO webhook_deliveries
        (id, run_id, thread_id, url, payload, attempts, last_error, push_config_id)
    SELECT gen_random_uuid(), ended.id, ended.thread_id, push_configs.url, '{{}}', 0, '',
        push_configs.id
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

# Adds the moved runs (`{moved}`) to the queue that claims read.
_QUEUE = """queued AS (
    INSERT INTO run_queue (graph_id, fairness_group, since)
    SELECT DISTINCT graph_id, fairness_group, clock_timestamp() FROM {moved}
    ORDER BY graph_id, fairness_group
    ON CONFLICT DO NOTHING
)"""

HAND_BACK = f"""
WITH ended AS (
    SELECT * FROM runs
    WHERE id = %(run_id)s AND attempt = %(attempt)s AND status = 'running'
    FOR NO KEY UPDATE
), handed_back AS (
    UPDATE runs SET status = 'pending', worker_id = NULL,
        updated_at = clock_timestamp(), dispatched_at = clock_timestamp()
    FROM ended WHERE runs.id = ended.id
    RETURNING runs.id, runs.graph_id, runs.fairness_group
), {_QUEUE.format(moved="handed_back")}, {_RECORD_HAND_BACK}
SELECT id FROM handed_back
"""

IS_HELD = """
SELECT id FROM runs
WHERE id = %(run_id)s AND attempt = %(attempt)s AND status = 'running'
"""

# A run that its worker does not know of is treated like a run whose worker died.
LET_GO = """
UPDATE runs SET worker_id = NULL
WHERE id = %(run_id)s AND attempt = %(attempt)s AND status = 'running'
"""

# Hands runs of dead workers to other workers, up to `max_attempts`. Locked rows wait
# for the next tick. If a run was claimed again in between, Postgres rechecks its row
# but not the subquery on workers, so the join compares the attempt.
TAKE_BACK = f"""
WITH lost AS MATERIALIZED (
    SELECT id, attempt FROM runs
    WHERE status = 'running' AND losses + 1 < %(max_attempts)s AND NOT EXISTS (
        SELECT FROM workers WHERE workers.id = runs.worker_id AND expired_at IS NULL
    )
), held AS (
    SELECT runs.* FROM runs JOIN lost USING (id, attempt)
    WHERE runs.status = 'running' FOR NO KEY UPDATE OF runs SKIP LOCKED
), {record.lost("held")}, taken_back AS (
    UPDATE runs SET status = 'pending', worker_id = NULL, losses = runs.losses + 1,
        updated_at = clock_timestamp(), dispatched_at = clock_timestamp()
    FROM held WHERE runs.id = held.id
    RETURNING runs.id, runs.graph_id, runs.fairness_group
), {_QUEUE.format(moved="taken_back")}
SELECT id FROM taken_back
"""

# Pending runs whose turn it is, but which no worker has claimed: their message was
# lost, their start time has come (`after_seconds`), or a race left them behind.
WAKE = f"""
WITH woken AS (
    UPDATE runs SET dispatched_at = clock_timestamp()
    WHERE id IN (
        SELECT id FROM runs
        WHERE status = 'pending' AND created_at <= clock_timestamp()
            AND (dispatched_at IS NULL OR dispatched_at
                < clock_timestamp() - make_interval(secs => %(timeout)s))
            AND NOT EXISTS (SELECT FROM run_pauses
                WHERE kind = 'graph' AND name = runs.graph_id
                    OR kind = 'owner' AND name = runs.fairness_group)
            AND {_FIRST}
        ORDER BY created_at LIMIT %(limit)s
        FOR UPDATE SKIP LOCKED
    )
    RETURNING id, graph_id, fairness_group
), {_QUEUE.format(moved="woken")}
SELECT id FROM woken
"""


@dataclass(frozen=True)
class Creation:
    """A new run, or why there is none. Without another reason the thread is busy."""

    run: Run | None
    # The assistant has changed since it was read.
    is_stale: bool
    # The thread exists and the caller can see it.
    has_thread: bool


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


# Those parameters of `CREATE` that are stored unchanged as columns of the run.
GIVEN = (
    *("id", "thread_id", "assistant_id", "graph_id", "kwargs", "multitask_strategy"),
    *("is_temporary", "owner", "user", "run_class", "api_key_id"),
    *("fairness_group", "queue_rank"),
)
RETURNED = ("created_at", "updated_at", "dispatched_at", "first_run_id")


def create(
    params: dict[str, Any],
    *,
    scope: Scope = EVERYTHING,
    assistant_updated_at: datetime | None = None,
) -> Creation:
    """Insert a pending run under its thread's lock.

    `params` are those of `CREATE`, except for the TTL of the thread. `scope` is a plain
    one. Pass `assistant_updated_at` where the assistant may have changed since.
    """
    seen = {"assistant_updated_at": assistant_updated_at}
    [row] = prepared.fetch_all(CREATE, params | ttl_params() | scope.params | seen)
    has_thread, has_assistant, metadata, *found = row
    if metadata is None:
        is_stale = assistant_updated_at is not None and not has_assistant
        return Creation(None, is_stale=is_stale, has_thread=has_thread)
    given = {name: params[name] for name in GIVEN}
    run = Run(
        **{k: v.obj if isinstance(v, Jsonb) else v for k, v in given.items()},
        metadata=from_jsonb(metadata),
        **dict(zip(RETURNED, found, strict=True)),
    )
    run.given = params["given"].obj
    run.kwargs |= run.given
    run._state.adding = False
    return Creation(run, is_stale=False, has_thread=True)


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


def lock_thread(thread_id: UUID) -> bool:
    """Lock the thread's row until the transaction ends. False if there is none."""
    with connection.cursor() as cursor:
        cursor.execute(LOCK, {"thread_id": thread_id})
        return cursor.fetchone() is not None


def ask_to_stop(run: Run, action: str) -> bool:
    """Request through a run's row that its worker stop it, and say how.

    An earlier request to roll back is kept: it takes precedence.
    """
    active = Run.objects.filter(pk=run.pk).active()
    if action != Run.CancelAction.ROLLBACK:
        active = active.exclude(cancel_action=Run.CancelAction.ROLLBACK)
    return bool(active.update(cancel_action=action, updated_at=Now()))


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


async def hand_back(pool: Pool, held: Claim, written: Record = NOTHING) -> bool:
    """Release a run, so that another worker resumes it from its last checkpoint."""
    params = written.params | {"run_id": held.id, "attempt": held.attempt}
    async with pool.connection() as conn:
        return (await conn.execute(HAND_BACK, params)).rowcount > 0


def take_back(*, max_attempts: int) -> list[UUID]:
    """Release all runs whose worker is gone. Returns the ids of those to resume."""
    return _ids(TAKE_BACK, {"max_attempts": max_attempts})


def wake(*, timeout: float, limit: int) -> list[UUID]:
    """Find runs without a message for `timeout` seconds; mark one as sent now."""
    return _ids(WAKE, {"timeout": timeout, "limit": limit})


def _ids(statement: str, params: dict[str, Any]) -> list[UUID]:
    with connection.cursor() as cursor:
        cursor.execute(statement, params)
        return [run_id for (run_id,) in cursor.fetchall()]
