"""The record of what happened in a run: its attempts, and the steps of each.

The statement that ends an attempt also writes its row, whether its worker ends it, the
tick finds it lost, or a client deletes the run. Steps are written with the end, or
earlier in a run that takes longer than `worker.flusher.FLUSH_SECS`. The rows have no
foreign key: they stay for `RUN_RECORD_TTL_DAYS`, unless a client deletes the run or its
thread.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import connection

from spool.database.json import jsonb
from spool.runs.models import RunAttempt
from spool.usage.meter import Reading
from spool.usage.statements import WRITE
from spool.usage.tokens import Tokens
from spool.webhooks.models import WebhookDelivery

# How many of the first and of the last steps of a long attempt are kept.
FIRST_STEPS = 200
LAST_STEPS = 100

# How many attempts one sweep deletes at once.
BATCH = 1000


@dataclass(frozen=True, slots=True)
class StepRecord:
    """A row of `run_steps`, without its run and attempt."""

    # The row to write: the step's number, or one of the rows that the last steps reuse
    # in turn.
    slot: int
    number: int
    node: str
    namespace: str
    task_id: str
    started_at: datetime
    duration_ms: float
    outcome: str
    tokens: dict[str, dict[str, int]]
    tools: list[dict[str, Any]]
    error: dict[str, str] | None
    traceback: str


@dataclass(frozen=True, slots=True)
class AttemptRecord:
    """The data of an attempt that only its worker knows."""

    steps: int | None = None
    tokens: dict[str, Tokens] = field(default_factory=dict)
    traceback: str = ""
    # The node that failed.
    node: str = ""


@dataclass(frozen=True, slots=True)
class Record:
    """The data to write with the end of an attempt."""

    attempt: AttemptRecord = AttemptRecord()
    steps: Sequence[StepRecord] = ()
    usage: Sequence[Reading] = ()

    @property
    def params(self) -> dict[str, Any]:
        """The parameters for statements that contain `handed_back`."""
        attempt = self.attempt
        tokens = {name: used.as_json() for name, used in attempt.tokens.items()}
        return {
            "step_count": attempt.steps,
            "tokens": None if attempt.steps is None else jsonb(tokens),
            "traceback": attempt.traceback,
            "node": attempt.node,
            "steps": jsonb(list(self.steps)),
            "usage": jsonb([reading.as_json() for reading in self.usage]),
        }

    @property
    def as_json(self) -> dict[str, Any]:
        """The argument `written` of `spool_end_1`."""
        attempt = self.attempt
        written: dict[str, Any] = {
            "step_count": attempt.steps,
            "traceback": attempt.traceback,
            "node": attempt.node,
        }
        if attempt.steps is not None:
            tokens = {name: used.as_json() for name, used in attempt.tokens.items()}
            written["tokens"] = tokens
        if self.steps:
            written["steps"] = list(self.steps)
        if self.usage:
            written["usage"] = [reading.as_json() for reading in self.usage]
        return written


NOTHING = Record()

_ATTEMPT = """
    INSERT INTO run_attempts (
        run_id, attempt, thread_id, owner, assistant_id, graph_id, run_class, revision,
        worker_id, queued_at, started_at, ended_at, outcome, error, node, traceback,
        steps, tokens
    )
    SELECT {of}.id, {attempt}, {of}.thread_id,
        coalesce({of}."user" ->> 'identity', {of}.owner), {of}.assistant_id,
        {of}.graph_id, coalesce({of}.run_class, ''), coalesce({of}.revision, ''),
        {worker}, {of}.created_at,
        coalesce({of}.claimed_at, {of}.started_at, {of}.created_at),
        clock_timestamp(), {outcome}, {error}, {node}, {traceback}, {steps}, {tokens}
    FROM {of} {where}
    ON CONFLICT (run_id, attempt) DO NOTHING
"""

_STEPS = """
    INSERT INTO run_steps AS step (
        run_id, attempt, slot, number, node, namespace, task_id, started_at,
        duration_ms, outcome, tokens, tools, error, traceback
    )
    SELECT {run_id}, {attempt}, given.slot, given.number, given.node, given.namespace,
        given.task_id, given.started_at, given.duration_ms, given.outcome, given.tokens,
        given.tools, given.error, given.traceback
    FROM {of}
    ON CONFLICT (run_id, attempt, slot) DO UPDATE SET
        number = excluded.number, node = excluded.node, namespace = excluded.namespace,
        task_id = excluded.task_id, started_at = excluded.started_at,
        duration_ms = excluded.duration_ms, outcome = excluded.outcome,
        tokens = excluded.tokens, tools = excluded.tools, error = excluded.error,
        traceback = excluded.traceback
    WHERE step.number < excluded.number
"""

_COLUMNS = """slot int, number int, node text, namespace text, task_id text,
    started_at timestamptz, duration_ms float8, outcome text, tokens jsonb, tools jsonb,
    error jsonb, traceback text"""


def handed_back() -> str:
    """CTEs that write the attempts of runs that are handed back, from the CTE `ended`.

    `ended` holds whole rows of `runs`; the parameters are `Record.params`. Other ends
    are written by `spool_end_1`.
    """
    attempt = _ATTEMPT.format(
        of="ended",
        attempt="ended.attempt",
        worker="ended.worker_id",
        outcome=f"'{RunAttempt.Outcome.HANDED_BACK}'",
        error="NULL",
        node="%(node)s::text",
        traceback="%(traceback)s::text",
        steps="%(step_count)s::int",
        tokens="%(tokens)s::jsonb",
        where="",
    )
    steps = _STEPS.format(
        run_id="ended.id",
        attempt="ended.attempt",
        of=f"ended, jsonb_to_recordset(%(steps)s) AS given ({_COLUMNS})",
    )
    return f"""attempt_record AS ({attempt}), step_records AS ({steps}),
        usage_record AS ({WRITE})"""


def lost(held: str) -> str:
    """A CTE that writes the attempts of runs whose workers are gone.

    `held` is a CTE of whole rows of `runs` as they were before.
    """
    return f"attempt_record AS ({_unwritten(held, RunAttempt.Outcome.LOST)})"


def _unwritten(of: str, outcome: str) -> str:
    """SQL that writes the attempts of runs that are not ended by their workers."""
    return _ATTEMPT.format(
        of=of,
        attempt=f"CASE {of}.status WHEN 'running' THEN {of}.attempt ELSE 0 END",
        worker=f"{of}.worker_id",
        outcome=f"'{outcome}'",
        error="NULL",
        node="''",
        traceback="''",
        steps="NULL",
        tokens="NULL",
        where=f"WHERE {of}.status IN ('pending', 'running')",
    )


# Writes the steps and usage of runs that are still running. A run that is being deleted
# is locked, so no more rows are written for it.
FLUSH = f"""
WITH given AS (
    SELECT * FROM jsonb_to_recordset(%(steps)s)
        AS given (run_id uuid, attempt int, {_COLUMNS})
), kept AS (
    SELECT id FROM runs WHERE id IN (SELECT run_id FROM given)
    FOR KEY SHARE SKIP LOCKED
), alive AS (
    SELECT given.* FROM given JOIN kept ON kept.id = given.run_id
), step_records AS (
    {_STEPS.format(run_id="run_id", attempt="attempt", of="alive AS given")}
), usage_record AS (
    {WRITE}
)
SELECT count(*) AS steps FROM alive
"""

# Locks the runs, so that no rows are written for them after the deletion below.
_LOCK = "SELECT id FROM runs WHERE {runs} FOR UPDATE"

# Writes the ends of active runs that are deleted with their thread.
_ROLLED_BACK = f"""
WITH deleted AS (SELECT * FROM runs WHERE id = ANY(%(run_ids)s))
{_unwritten("deleted", RunAttempt.Outcome.ROLLED_BACK)}
"""

# The end of the minutes whose attempts are counted for good, see `runs.counting`.
_COUNTED_UNTIL = """
    coalesce((SELECT closed_until FROM run_counting), '-infinity')
"""

# Attempts that are not counted yet are kept, but without anything that identifies the
# run. They keep the owner, since usage outlives runs, unless all data of the owner is
# deleted.
_FORGET = f"""
WITH wanted AS (
    SELECT unnest(%(run_ids)s::uuid[]) AS id
    UNION
    SELECT run_id FROM run_attempts WHERE {{attempts}}
), steps AS (
    DELETE FROM run_steps WHERE run_id IN (SELECT id FROM wanted)
), old AS (
    DELETE FROM run_attempts
    WHERE run_id IN (SELECT id FROM wanted) AND ended_at < {_COUNTED_UNTIL}
)
UPDATE run_attempts SET run_id = gen_random_uuid(), thread_id = NULL, worker_id = NULL,
    owner = CASE WHEN %(keeps_owner)s THEN owner ELSE '' END,
    assistant_id = CASE WHEN %(keeps_owner)s THEN assistant_id END, traceback = '',
    error = CASE WHEN error ? 'error'
        THEN jsonb_build_object('error', error -> 'error') END
WHERE run_id IN (SELECT id FROM wanted) AND ended_at >= {_COUNTED_UNTIL}
"""

_SWEEP = f"""
WITH old AS (
    DELETE FROM run_attempts WHERE ctid IN (
        (SELECT ctid FROM run_attempts
        WHERE ended_at < least(now() - %(kept)s, {_COUNTED_UNTIL})
        ORDER BY ended_at LIMIT %(limit)s)
        UNION
        (SELECT ctid FROM run_attempts
        WHERE thread_id IS NULL AND ended_at < {_COUNTED_UNTIL}
        ORDER BY ended_at LIMIT %(limit)s)
    )
    RETURNING run_id, attempt
), steps AS (
    DELETE FROM run_steps USING old
    WHERE run_steps.run_id = old.run_id AND run_steps.attempt = old.attempt
)
SELECT count(*) FROM old
"""


def forget_threads(thread_ids: Iterable[UUID]) -> None:
    """Delete the records of all runs of these threads, before the runs are deleted."""
    _forget(runs=_OF_THREADS, attempts=_OF_THREADS, wanted=list(thread_ids))


def forget_run(run_id: UUID) -> None:
    _forget(runs="id = %(wanted)s", attempts="run_id = %(wanted)s", wanted=run_id)


def forget_owner(owner: str) -> None:
    """Delete the records of all runs of this identity.

    Also delete the webhook deliveries of its stateless runs: since their threads are
    gone, only the records name the owner.
    """
    attempts = RunAttempt.objects.filter(owner=owner).values("run_id")
    WebhookDelivery.objects.filter(run_id__in=attempts).delete()
    of_run = "coalesce(\"user\" ->> 'identity', owner) = %(wanted)s"
    _forget(runs=of_run, attempts="owner = %(wanted)s", wanted=owner, keeps_owner=False)


_OF_THREADS = "thread_id = ANY(%(wanted)s)"


def _forget(*, runs: str, attempts: str, wanted: Any, keeps_owner: bool = True) -> None:
    params = {"wanted": wanted, "keeps_owner": keeps_owner}
    with connection.cursor() as cursor:
        cursor.execute(_LOCK.format(runs=runs), params)
        params["run_ids"] = [run_id for (run_id,) in cursor.fetchall()]
        cursor.execute(_ROLLED_BACK, params)
        cursor.execute(_FORGET.format(attempts=attempts), params)


def sweep() -> int:
    """Delete a batch of expired records, oldest first. Returns how many there were."""
    params: dict[str, Any] = {
        "kept": timedelta(days=settings.RUN_RECORD_TTL_DAYS),
        "limit": BATCH,
    }
    with connection.cursor() as cursor:
        cursor.execute(_SWEEP, params)
        (count,) = cursor.fetchone()
        return int(count)
