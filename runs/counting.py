"""Counts ended attempts in rows of minutes, and adds these to rows of longer periods.

The tick calls this. Nothing is counted when a run ends: its attempt's row holds what is
needed, and stays until it is counted (`runs.record`), even if the run is deleted at
once. An attempt belongs to the minute in which it ended, by the clock of Postgres.

A minute is counted again every few seconds until it is closed: its rows are computed
from all attempts that ended in it, and replaced. So an attempt can't count twice, and
one whose transaction commits late counts too, up to `CLOSE_AFTER`. Closing a minute
adds its rows to those of longer periods and moves `Counting.closed_until`, in one
transaction: a crash in between changes nothing. A lock on the `Counting` row excludes
a second tick.

However many attempts there are, each pass reads only those of a minute or two, by the
index on their end. After an outage, closing resumes at the first minute that is not
closed, and closes up to `MAX_CLOSED` per pass.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db import DatabaseError, connection, transaction
from django.db.models.functions import Now

from spool.runs.models import Run, RunAttempt
from spool.runs.periods import (
    BUCKETS,
    QueueMinute,
    RunFailure,
    RunPeriod,
    Span,
    TableHour,
)
from spool.usage.statements import ADD_RUNS

logger = logging.getLogger(__name__)

MINUTE = timedelta(minutes=1)
# How often the current minute is counted.
COUNT_EVERY = timedelta(seconds=5)
# A minute is closed this long after it began.
CLOSE_AFTER = timedelta(minutes=5)
# For how long after its end a minute is counted by each pass.
LATE = timedelta(seconds=10)
# The longest time that one pass closes, after an outage.
MAX_CLOSED = timedelta(minutes=15)
# How many kinds of failures are counted separately in a period.
MAX_FAILURES = {Span.MINUTE: 50, Span.QUARTER: 200, Span.HOUR: 200}
# How many tables are measured: the largest ones.
MAX_TABLES = 100
# How long rows are kept.
KEPT = timedelta(days=30)

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MAX_NAME = 200
LOCK_TIMEOUT = "SET LOCAL lock_timeout = '1s'"

OUTCOMES = tuple(RunAttempt.Outcome.values)
RESUMED = (RunAttempt.Outcome.HANDED_BACK, RunAttempt.Outcome.LOST)
ENDS = tuple(outcome for outcome in OUTCOMES if outcome not in RESUMED)
TOKENS = ("calls", "input", "output", "cached", "cache_written", "reasoning")
_SUMS = (*OUTCOMES, "delay_secs", "duration_secs", "steps", *TOKENS)
_ARRAYS = ("delays", "durations")
_KEY = ("span", "start", "graph_id", "run_class", "revision")
_COLUMNS = ", ".join((*_KEY, "last_at", *_SUMS, *_ARRAYS))
_PLACES = range(1, len(BUCKETS) + 2)


def _sql(parts: Any) -> str:
    return ",\n    ".join(parts)


def _counts_of(bucket: str) -> str:
    return ", ".join(f"count(*) FILTER (WHERE {bucket} = {n - 1})" for n in _PLACES)


def _places_of(name: str) -> str:
    return ", ".join(f"period.{name}[{n}] + excluded.{name}[{n}]" for n in _PLACES)


_LOCK = """
SELECT closed_until, counted_at, statement_timestamp() FROM run_counting
WHERE id = 1 FOR UPDATE SKIP LOCKED
"""
_BEGIN = """
INSERT INTO run_counting (id, closed_until, counted_at)
VALUES (1, %(epoch)s, %(epoch)s) ON CONFLICT DO NOTHING
"""
_FIRST = "SELECT min(ended_at) FROM run_attempts WHERE ended_at >= %s"
# One process at a time exports the figures of the server.
_CLAIM_EXPORT = """
UPDATE run_counting SET exported_at = now()
WHERE id = 1 AND (exported_at IS NULL OR exported_at < now() - %(interval)s)
"""
_MOVE = "UPDATE run_counting SET closed_until = %s, counted_at = %s WHERE id = 1"

# The attempts of some minutes, with the seconds until their run began, and from then
# until it ended, if it did.
_ENDED = """run_attempts AS attempts
CROSS JOIN LATERAL (
    SELECT CASE WHEN attempt = 1
            THEN greatest(extract(epoch FROM started_at - queued_at), 0) END AS delay,
        CASE WHEN attempt > 0 AND outcome <> ALL (%(resumed)s::text[])
            THEN extract(epoch FROM ended_at - CASE WHEN attempt = 1 THEN started_at
                ELSE (SELECT min(earlier.started_at) FROM run_attempts AS earlier
                    WHERE earlier.run_id = attempts.run_id AND earlier.attempt > 0)
                END) END AS duration
    OFFSET 0  -- Computed once for each attempt, not in each of the sums.
) AS times
"""
_IN_MINUTES = "ended_at >= %(since)s AND ended_at < %(until)s"

# An attempt without tokens was lost with its worker, but its steps may have tokens.
_MINUTES = f"""
INSERT INTO run_periods AS period ({_COLUMNS})
SELECT '{Span.MINUTE}', date_bin('1 minute', ended_at, %(epoch)s), left(graph_id, 200),
    run_class, left(revision, 200), date_bin('1 minute', max(ended_at), %(epoch)s),
    {_sql(f"count(*) FILTER (WHERE outcome = '{name}')" for name in OUTCOMES)},
    coalesce(sum(delay), 0), coalesce(sum(duration), 0),
    coalesce(sum(coalesce(steps, kept.step_count)), 0),
    {_sql(f"coalesce(sum(used.{name}), 0)" for name in TOKENS)},
    {_sql(f"ARRAY[{_counts_of(of)}]" for of in ("delay_bucket", "duration_bucket"))}
FROM {_ENDED}CROSS JOIN LATERAL (
    SELECT width_bucket(delay::float8, %(buckets)s::float8[]) AS delay_bucket,
        width_bucket(duration::float8, %(buckets)s::float8[]) AS duration_bucket
    OFFSET 0
) AS places
CROSS JOIN LATERAL (
    SELECT max(number) + 1 AS step_count FROM run_steps
    WHERE attempts.steps IS NULL AND attempts.attempt > 0
        AND run_steps.run_id = attempts.run_id AND run_steps.attempt = attempts.attempt
) AS kept
CROSS JOIN LATERAL (
    SELECT {_sql(f"sum((of_model ->> '{name}')::bigint) AS {name}" for name in TOKENS)}
    FROM (
        SELECT value AS of_model FROM jsonb_each(
            CASE jsonb_typeof(attempts.tokens) WHEN 'object' THEN attempts.tokens END)
        UNION ALL
        SELECT value FROM run_steps CROSS JOIN LATERAL jsonb_each(run_steps.tokens)
        WHERE attempts.tokens IS NULL AND attempts.attempt > 0
            AND run_steps.run_id = attempts.run_id
            AND run_steps.attempt = attempts.attempt
    ) AS calls
) AS used
WHERE {_IN_MINUTES}
GROUP BY 1, 2, 3, 4, 5
ON CONFLICT ({", ".join(_KEY)}) DO UPDATE SET last_at = excluded.last_at,
    {_sql(f"{name} = excluded.{name}" for name in (*_SUMS, *_ARRAYS))}
WHERE ({", ".join(f"period.{name}" for name in (*OUTCOMES, *TOKENS))})
    IS DISTINCT FROM ({", ".join(f"excluded.{name}" for name in (*OUTCOMES, *TOKENS))})
"""

# Failures with the same key are counted together. Beyond the limit of the period,
# further ones are counted as `OTHER`.
_FAILURE_KEY = "span, start, graph_id, revision, error, node"
_WRITE_FAILURES = f"""
INSERT INTO run_failures AS failure ({_FAILURE_KEY}, count, last_at)
SELECT span, start, graph_id, revision, named.error, named.node, sum(count),
    max(last_at)
FROM ranked CROSS JOIN LATERAL (
    SELECT CASE WHEN is_known OR rank <= most THEN error ELSE %(other)s END AS error,
        CASE WHEN is_known OR rank <= most THEN node ELSE '' END AS node
) AS named
GROUP BY 1, 2, 3, 4, 5, 6
ON CONFLICT ({_FAILURE_KEY}) DO UPDATE SET count = failure.count + excluded.count,
    last_at = greatest(failure.last_at, excluded.last_at)
"""
_DROP_FAILURES = f"""
DELETE FROM run_failures
WHERE span = '{Span.MINUTE}' AND start >= %(since)s AND start < %(until)s
"""
_FAILURES = f"""
WITH found AS (
    SELECT '{Span.MINUTE}' AS span, date_bin('1 minute', ended_at, %(epoch)s) AS start,
        left(graph_id, 200) AS graph_id, left(revision, 200) AS revision,
        left(coalesce(error ->> 'error', ''), 200) AS error, node, count(*) AS count,
        max(ended_at) AS last_at
    FROM run_attempts
    WHERE {_IN_MINUTES}
        AND outcome IN ('error', 'timeout')
    GROUP BY 1, 2, 3, 4, 5, 6
), ranked AS (
    SELECT found.*, false AS is_known, {MAX_FAILURES[Span.MINUTE]} AS most,
        row_number() OVER (PARTITION BY start ORDER BY count DESC, error, node) AS rank
    FROM found
)
{_WRITE_FAILURES}
"""

# The longer periods that a closed minute is added to; `ever` has no bins.
_SPANS = f"""(VALUES ('{Span.QUARTER}', interval '15 minutes'),
    ('{Span.HOUR}', interval '1 hour'), ('{Span.EVER}', NULL)) AS spans (span, width)"""
_BIN = "coalesce(date_bin(width, start, %(epoch)s), %(epoch)s)"
_SUMMED = _sql(
    [f"sum({name})" for name in _SUMS]
    + [
        f"ARRAY[{', '.join(f'sum({name}[{n}])::bigint' for n in _PLACES)}]"
        for name in _ARRAYS
    ]
)
_ADD = f"""
ON CONFLICT ({", ".join(_KEY)}) DO UPDATE SET
    last_at = greatest(period.last_at, excluded.last_at),
    {_sql(f"{name} = period.{name} + excluded.{name}" for name in _SUMS)},
    {_sql(f"{name} = ARRAY[{_places_of(name)}]" for name in _ARRAYS)}
"""
_CLOSE = f"""
INSERT INTO run_periods AS period ({_COLUMNS})
SELECT spans.span, {_BIN}, graph_id, run_class, revision, max(last_at), {_SUMMED}
FROM run_periods AS minutes CROSS JOIN {_SPANS}
WHERE minutes.span = '{Span.MINUTE}' AND start >= %(since)s AND start < %(until)s
GROUP BY 1, 2, 3, 4, 5
{_ADD}
"""
# Merges the rows of old revisions: counters must keep their totals, but the number of
# revisions grows without bound.
_FOLD = f"""
WITH old AS (
    DELETE FROM run_periods
    WHERE span = '{Span.EVER}' AND revision <> %(older)s AND last_at < now() - %(kept)s
    RETURNING *
)
INSERT INTO run_periods AS period ({_COLUMNS})
SELECT span, start, graph_id, run_class, %(older)s, max(last_at), {_SUMMED}
FROM old GROUP BY 1, 2, 3, 4, 5
{_ADD}
"""
_CLOSE_FAILURES = f"""
WITH found AS (
    SELECT spans.span, {_BIN} AS start, graph_id, revision, error, node,
        sum(count) AS count, max(last_at) AS last_at
    FROM run_failures AS minutes CROSS JOIN {_SPANS}
    WHERE minutes.span = '{Span.MINUTE}' AND start >= %(since)s AND start < %(until)s
        AND spans.span <> '{Span.EVER}'
    GROUP BY 1, 2, 3, 4, 5, 6
), known AS (
    SELECT * FROM run_failures WHERE (span, start) IN (SELECT span, start FROM found)
), compared AS (
    SELECT found.*, known.span IS NOT NULL AS is_known, {MAX_FAILURES[Span.HOUR]} - (
            SELECT count(*) FROM known AS of_period
            WHERE of_period.span = found.span AND of_period.start = found.start
        ) AS most
    FROM found LEFT JOIN known USING ({_FAILURE_KEY})
), ranked AS (
    SELECT compared.*, row_number() OVER (
        PARTITION BY span, start, is_known ORDER BY compared.count DESC, error, node
    ) AS rank FROM compared
)
{_WRITE_FAILURES}
"""

# For `/usage`: how the runs of each owner ended, in closed minutes.
_USAGE = f"""
WITH ended AS (
    SELECT owner, assistant_id, graph_id, revision,
        (ended_at AT TIME ZONE 'UTC')::date AS day, outcome, duration
    FROM {_ENDED}
    WHERE {_IN_MINUTES} AND outcome <> ALL (%(resumed)s::text[])
)
{ADD_RUNS}
"""

_SAMPLE_QUEUE = """
INSERT INTO queue_minutes (start, run_class, waiting, oldest_secs, running)
SELECT %(start)s, run_class,
    count(created_at) FILTER (WHERE status = 'pending' AND created_at <= now()),
    coalesce(greatest(extract(epoch FROM now() - min(created_at)
        FILTER (WHERE status = 'pending' AND dispatched_at IS NOT NULL)), 0), 0),
    count(created_at) FILTER (WHERE status = 'running')
FROM unnest(%(classes)s::text[]) AS classes (run_class)
LEFT JOIN (
    SELECT coalesce(run_class, 'background') AS run_class, created_at, status,
        dispatched_at
    FROM runs WHERE status IN ('pending', 'running')
) AS active USING (run_class)
GROUP BY run_class
ON CONFLICT DO NOTHING
"""

_MEASURE = """
INSERT INTO table_hours (start, name, bytes, rows)
SELECT date_trunc('hour', now()), relname, pg_total_relation_size(oid),
    CASE WHEN reltuples >= 0 THEN reltuples::bigint END
FROM pg_class
WHERE relkind IN ('r', 'p') AND relpersistence = 'p'
    AND relnamespace = current_schema()::regnamespace
    AND NOT EXISTS (
        SELECT FROM table_hours WHERE start = date_trunc('hour', now())
    )
ORDER BY 3 DESC LIMIT %(limit)s
ON CONFLICT DO NOTHING
"""


@dataclass(frozen=True, slots=True)
class _Progress:
    """How far attempts are counted, and the time of this pass."""

    closed_until: datetime
    counted_at: datetime
    now: datetime

    @property
    def is_recent(self) -> bool:
        return timedelta() <= self.now - self.counted_at < COUNT_EVERY

    @property
    def closes_until(self) -> datetime:
        return max(_minute_of(self.now - CLOSE_AFTER), self.closed_until)

    @property
    def live_since(self) -> datetime:
        """The first minute that may have new ends since the last pass."""
        latest = min(self.now - LATE, self.counted_at)
        return max(_minute_of(latest), self.closes_until)


def count() -> None:
    """Count ended attempts, unless another process is counting or has just counted."""
    if not _count():
        return
    try:
        _measure_tables()
    except DatabaseError:  # For example, one is locked by a migration.
        logger.warning("Could not measure the tables", exc_info=True)


@transaction.atomic
def _count() -> bool:
    with connection.cursor() as cursor:
        cursor.execute(_LOCK)
        row = cursor.fetchone()
        if row is None:  # Another process has locked it, or it was never written.
            cursor.execute(_BEGIN, {"epoch": EPOCH})
            return False
        progress = _Progress(*row)
        if progress.is_recent:
            return False
        closed_until = _close(cursor, progress)
        _count_minutes(cursor, progress.live_since, progress.now + MINUTE)
        if progress.counted_at < _minute_of(progress.now):
            _sample_queue(cursor, _minute_of(progress.now))
        is_behind = closed_until < progress.closes_until
        counted_at = progress.counted_at if is_behind else progress.now
        cursor.execute(_MOVE, [closed_until, counted_at])
    return True


def _close(cursor: Any, progress: _Progress) -> datetime:
    """Close minutes, and return the end of the last one."""
    until = progress.closes_until
    if until == progress.closed_until:
        return until
    cursor.execute(_FIRST, [progress.closed_until])
    (first,) = cursor.fetchone()
    if first is None or first >= until:
        return until
    since = _minute_of(first)
    until = min(until, since + MAX_CLOSED)
    _count_minutes(cursor, since, until)
    for statement in (_CLOSE, _CLOSE_FAILURES, _USAGE):
        cursor.execute(statement, _params(since, until))
    return until


def _count_minutes(cursor: Any, since: datetime, until: datetime) -> None:
    for statement in (_MINUTES, _DROP_FAILURES, _FAILURES):
        cursor.execute(statement, _params(since, until))


def _params(since: datetime, until: datetime) -> dict[str, Any]:
    return {
        "since": since,
        "until": until,
        "epoch": EPOCH,
        "buckets": list(map(float, BUCKETS)),
        "resumed": list(RESUMED),
        "other": RunFailure.OTHER,
    }


def _sample_queue(cursor: Any, start: datetime) -> None:
    params = {"start": start, "classes": list(Run.RunClass.values)}
    cursor.execute(_SAMPLE_QUEUE, params)


@transaction.atomic
def _measure_tables() -> None:
    """Measure the tables, once an hour."""
    with connection.cursor() as cursor:
        cursor.execute(LOCK_TIMEOUT)
        cursor.execute(_MEASURE, {"limit": MAX_TABLES})


def sweep() -> int:
    """Delete rows that are older than `KEPT`. Returns how many were deleted."""
    params: dict[str, Any] = {"kept": KEPT, "older": RunPeriod.OLDER}
    with connection.cursor() as cursor:
        cursor.execute(_FOLD, params)
    before = Now() - KEPT
    spans = [Span.MINUTE, Span.QUARTER, Span.HOUR]
    old = (
        RunPeriod.objects.filter(span__in=spans, start__lt=before),
        RunFailure.objects.filter(span__in=spans, start__lt=before),
        QueueMinute.objects.filter(start__lt=before),
        TableHour.objects.filter(start__lt=before),
    )
    return sum(rows.delete()[0] for rows in old)


def claim_export(interval: timedelta) -> bool:
    """Claim an export of the server's figures. False: one was claimed in `interval`."""
    params: dict[str, Any] = {"interval": interval}
    with connection.cursor() as cursor:
        cursor.execute(_CLAIM_EXPORT, params)
        return bool(cursor.rowcount)


def _minute_of(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(second=0, microsecond=0)
