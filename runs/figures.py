"""Figures over time for the console and for metrics, read from the rows of periods.

None of these functions reads a table that grows with the number of runs: each executes
one or two statements over a few hundred rows of `runs.periods`. Each point of a range
covers as much time as one row; a point without runs is included, with zeros.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum
from typing import Any

from django.db import connection
from django.utils import timezone

from spool.runs.counting import EPOCH, OUTCOMES, TOKENS
from spool.runs.models import Run
from spool.runs.periods import BUCKETS, Counting, RunPeriod, Span

# The maximum length of a list.
MAX_GROUPS = 50
# How many revisions of a graph are shown separately: the latest ones.
MAX_REVISIONS = 3
# How many combinations of graph, class and revision metrics have: those that ran last.
MAX_TOTALS = 200


class Range(Enum):
    """A range that charts show: its length, and the length of its points."""

    QUARTER = ("15m", timedelta(minutes=15), Span.MINUTE, timedelta(minutes=1))
    HOUR = ("1h", timedelta(hours=1), Span.MINUTE, timedelta(minutes=1))
    DAY = ("24h", timedelta(days=1), Span.QUARTER, timedelta(minutes=15))
    WEEK = ("7d", timedelta(days=7), Span.HOUR, timedelta(hours=1))

    def __init__(
        self, label: str, length: timedelta, span: Span, step: timedelta
    ) -> None:
        self.label = label
        self.length = length
        self.span = span
        self.step = step

    @property
    def in_words(self) -> str:
        """The range as a phrase, such as `the last hour`."""
        unit = "minute" if self.length < timedelta(hours=1) else "hour"
        unit = unit if self.length < timedelta(days=2) else "day"
        count = self.length // timedelta(**{f"{unit}s": 1})
        return f"the last {unit}" if count == 1 else f"the last {count} {unit}s"

    @classmethod
    def named(cls, label: str) -> Range:
        """The range with this label; the last hour if there is none."""
        return next((each for each in cls if each.label == label), cls.HOUR)

    def starts(self, now: datetime | None = None) -> list[datetime]:
        """The start of each point, including the current one."""
        count = self.length // self.step
        last = ((now or timezone.now()) - EPOCH) // self.step
        return [EPOCH + self.step * n for n in range(last - count + 1, last + 1)]


@dataclass(frozen=True, slots=True)
class Outcomes:
    """How runs ended, and how many attempts were lost or handed back, to be resumed."""

    success: int = 0
    error: int = 0
    timeout: int = 0
    interrupted: int = 0
    rolled_back: int = 0
    handed_back: int = 0
    lost: int = 0

    @property
    def ended(self) -> int:
        return (
            self.success
            + self.error
            + self.timeout
            + self.interrupted
            + self.rolled_back
        )

    @property
    def failed(self) -> int:
        return self.error + self.timeout

    @property
    def error_rate(self) -> float:
        """The fraction of the runs that failed; 0 without runs."""
        return self.failed / self.ended if self.ended else 0.0


@dataclass(frozen=True, slots=True)
class Histogram:
    """The number of values in each of `BUCKETS` and above the last, and their sum."""

    counts: tuple[int, ...]
    total_secs: float

    @property
    def count(self) -> int:
        return sum(self.counts)

    def quantile(self, part: float) -> float | None:
        """The seconds below which this fraction of the values is; None without values.

        The result is as exact as the buckets: values are assumed to be spread evenly
        within a bucket.
        """
        rank, below = part * self.count, 0
        if not self.count:
            return None
        for place, count in enumerate(self.counts[: len(BUCKETS)]):
            if below + count >= rank and count:
                low = BUCKETS[place - 1] if place else 0.0
                return low + (BUCKETS[place] - low) * (rank - below) / count
            below += count
        return float(BUCKETS[-1])


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """Runs and attempts that ended."""

    outcomes: Outcomes
    # From a run's creation to its first attempt, and from there to its end.
    delay: Histogram
    duration: Histogram
    steps: int
    # Keyed by the fields of `usage.tokens.Tokens`.
    tokens: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Point(Ended):
    """What ended in one part of a range."""

    start: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals(Ended):
    """What ended in a range, by graph, class or revision; "" stands for all of them."""

    graph_id: str
    run_class: str
    revision: str
    # The last minute with an end.
    last_at: datetime


@dataclass(frozen=True, slots=True)
class Failures:
    """Runs that failed alike."""

    graph_id: str
    revision: str
    # The exception's type; `RunFailure.OTHER` stands for further ones.
    error: str
    node: str
    count: int
    last_at: datetime


@dataclass(frozen=True, slots=True)
class QueuePoint:
    """The queue of one class in a part of a range: its worst minute."""

    start: datetime
    run_class: str
    waiting: int
    # The age of the oldest run whose turn it is: it waits for a worker, not for another
    # run of its thread.
    oldest_secs: float
    running: int


@dataclass(frozen=True, slots=True)
class TableSize:
    name: str
    bytes: int
    # An estimate.
    rows: int | None
    # Since the start of the range, or since the table was first measured.
    growth: int


def over_time(within: Range, *, graph_id: str | None = None) -> list[Point]:
    """What ended in each part of the range, of all graphs or of one."""
    return _points(within, _read("start", within, graph_id))


def over_time_and_by_graph(within: Range) -> tuple[list[Point], list[Totals]]:
    """Return what `over_time` and `by_graph` return, in one statement."""
    sets = "GROUPING SETS ((start), (graph_id))"
    rows = _read("start, graph_id", within, groups=sets)
    by_time = [row for row in rows if row["start"] is not None]
    return (
        _points(within, by_time),
        _totals(row for row in rows if row["start"] is None),
    )


def by_graph(within: Range) -> list[Totals]:
    """What ended in the range by graph, the graphs with the most runs first."""
    return _totals(_read("graph_id", within))


def by_class(within: Range) -> list[Totals]:
    """What ended in the range by class."""
    return _totals(_read("run_class", within))


def by_revision(within: Range, *, graph_id: str | None = None) -> list[Totals]:
    """What ended in the range by graph and revision, the latest of a graph first."""
    found = _totals(_read("graph_id, revision", within, graph_id))
    newest_first = sorted(found, key=lambda each: each.last_at, reverse=True)
    return sorted(newest_first, key=lambda each: each.graph_id)


def ever_by_class() -> list[Totals]:
    """All that ever ended, by graph and class, for counters. At most `MAX_TOTALS`."""
    return _ever("graph_id, run_class", max_revisions=None)


def ever_by_revision() -> list[Totals]:
    """All that ever ended, by graph, class and revision, for counters.

    Includes only the latest `MAX_REVISIONS` of each graph, and at most `MAX_TOTALS`.
    """
    return _ever("graph_id, run_class, revision", max_revisions=MAX_REVISIONS)


def tick_age() -> float | None:
    """Seconds since the tick last counted everything; None if it never did.

    The age keeps growing while there is more to count than one pass can.
    """
    found = _fetch(_TICK, {"epoch": EPOCH})
    return found[0]["age"] if found else None


def failures(within: Range, *, graph_id: str | None = None) -> list[Failures]:
    """Groups of failed runs, the most frequent first."""
    params = _with_open(within, graph_id) | {"limit": MAX_GROUPS}
    return [Failures(**row) for row in _fetch(_FAILURES, params)]


def queue_over_time(within: Range) -> list[QueuePoint]:
    """The queue by class and part of the range. Includes only minutes with a tick."""
    return [QueuePoint(**row) for row in _fetch(_QUEUE, _params(within))]


def queue_now() -> dict[str, QueuePoint]:
    """The queue by class at this moment, from the partial indexes on active runs."""
    found = {row["run_class"]: QueuePoint(**row) for row in _fetch(_QUEUE_NOW, {})}
    now = timezone.now()
    for run_class in Run.RunClass.values:
        found.setdefault(run_class, QueuePoint(now, run_class, 0, 0.0, 0))
    return found


def table_sizes(within: Range) -> list[TableSize]:
    """The last measured size and the growth of each table, the largest first.

    Tables are measured once an hour, so a short range shows the growth of an hour.
    """
    found = [TableSize(**row) for row in _fetch(_TABLES, _params(within))]
    return sorted(found, key=lambda table: table.bytes, reverse=True)


# --- Statements ---------------------------------------------------------------------
_COUNTS = (*OUTCOMES, "steps", *TOKENS)
_SECONDS = ("delay_secs", "duration_secs")
_ARRAYS = ("delays", "durations")
_PLACES = range(1, len(BUCKETS) + 2)
_SELECTED = ", ".join(
    (
        *(f"sum({name})::bigint AS {name}" for name in _COUNTS),
        *(f"sum({name}) AS {name}" for name in _SECONDS),
        *(
            f"ARRAY[{', '.join(f'sum({name}[{n}])' for n in _PLACES)}]::bigint[] AS {name}"
            for name in _ARRAYS
        ),
    )
)
_NOTHING: Mapping[str, Any] = {
    **dict.fromkeys((*_COUNTS, *_SECONDS), 0),
    **dict.fromkeys(_ARRAYS, [0] * len(_PLACES)),
}

# Rows of longer periods contain closed minutes only, so the open minutes are added.
# `open_since` lets Postgres plan for these few rows. The subquery is the exact limit,
# since it sees the same snapshot as the rows.
_ROWS = """
    SELECT * FROM {table} WHERE span = %(span)s AND start >= %(since)s
    UNION ALL
    SELECT * FROM {table} WHERE span = 'minute' AND %(span)s <> 'minute'
        AND start >= greatest(%(since)s, (SELECT closed_until FROM run_counting))
        AND start >= %(open_since)s
"""
_PERIODS = _ROWS.format(table="run_periods")
_SUMMED = f"""
SELECT {{by}}, max(last_at) AS last_at, {_SELECTED}
FROM (
    SELECT date_bin(%(step)s, start, %(epoch)s) AS start, graph_id, run_class,
        revision, last_at, {", ".join((*_COUNTS, *_SECONDS, *_ARRAYS))}
    FROM ({_PERIODS}) AS periods
    WHERE %(graph_id)s::text IS NULL OR graph_id = %(graph_id)s
) AS rows
GROUP BY {{groups}}
ORDER BY sum({" + ".join(OUTCOMES)}) DESC
"""

_EVER = f"""
WITH periods AS MATERIALIZED ({_PERIODS}), latest AS (
    SELECT graph_id, revision, row_number() OVER (
        PARTITION BY graph_id ORDER BY max(last_at) DESC, revision
    ) AS rank
    FROM periods WHERE revision <> %(older)s GROUP BY graph_id, revision
)
SELECT {{by}}, max(last_at) AS last_at, {_SELECTED}
FROM periods
WHERE %(max_revisions)s::int IS NULL OR EXISTS (
    SELECT FROM latest WHERE latest.graph_id = periods.graph_id
        AND latest.revision = periods.revision AND rank <= %(max_revisions)s
)
GROUP BY {{by}}
ORDER BY max(last_at) DESC, {{by}} LIMIT %(limit)s
"""

_FAILURES = f"""
SELECT graph_id, revision, error, node, sum(count)::bigint AS count,
    max(last_at) AS last_at
FROM ({_ROWS.format(table="run_failures")}) AS failures
WHERE %(graph_id)s::text IS NULL OR graph_id = %(graph_id)s
GROUP BY graph_id, revision, error, node
ORDER BY 5 DESC, graph_id, error, node LIMIT %(limit)s
"""

_QUEUE = """
SELECT date_bin(%(step)s, start, %(epoch)s) AS start, run_class, max(waiting) AS waiting,
    max(oldest_secs) AS oldest_secs, max(running) AS running
FROM queue_minutes WHERE start >= %(since)s
GROUP BY 1, 2 ORDER BY 1, 2
"""
_QUEUE_NOW = """
SELECT now() AS start, coalesce(run_class, 'background') AS run_class,
    count(*) FILTER (WHERE status = 'pending' AND created_at <= now()) AS waiting,
    coalesce(greatest(extract(epoch FROM now() - min(created_at)
        FILTER (WHERE status = 'pending' AND dispatched_at IS NOT NULL))::float8, 0), 0)
        AS oldest_secs,
    count(*) FILTER (WHERE status = 'running') AS running
FROM runs WHERE status IN ('pending', 'running') GROUP BY 2
"""

_TABLES = """
SELECT DISTINCT ON (name) name, bytes, rows,
    bytes - first_value(bytes) OVER (PARTITION BY name ORDER BY start) AS growth
FROM table_hours WHERE start >= %(since)s - interval '2 hours'
ORDER BY name, start DESC
"""


_TICK = """
SELECT extract(epoch FROM now() - counted_at)::float8 AS age FROM run_counting
WHERE counted_at > %(epoch)s
"""


def _ever(by: str, *, max_revisions: int | None) -> list[Totals]:
    params = {
        "span": Span.EVER,
        "since": EPOCH,
        "open_since": _open_since(),
        "older": RunPeriod.OLDER,
        "max_revisions": max_revisions,
        "limit": MAX_TOTALS,
    }
    return _totals(_fetch(_EVER.format(by=by), params))


def _read(
    by: str, within: Range, graph_id: str | None = None, *, groups: str = ""
) -> list[dict[str, Any]]:
    statement = _SUMMED.format(by=by, groups=groups or by)
    return _fetch(statement, _with_open(within, graph_id))


def _points(within: Range, rows: Iterable[Mapping[str, Any]]) -> list[Point]:
    found = {row["start"]: row for row in rows}
    return [
        Point(start=start, **_ended(found.get(start, _NOTHING)))
        for start in within.starts()
    ]


def _totals(rows: Iterable[Mapping[str, Any]]) -> list[Totals]:
    return [
        Totals(
            graph_id=row.get("graph_id", ""),
            run_class=row.get("run_class", ""),
            revision=row.get("revision", ""),
            last_at=row["last_at"],
            **_ended(row),
        )
        for row in rows
    ]


def _ended(row: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of `Ended`."""
    return {
        "outcomes": Outcomes(**{name: row[name] for name in OUTCOMES}),
        "delay": Histogram(tuple(row["delays"]), row["delay_secs"]),
        "duration": Histogram(tuple(row["durations"]), row["duration_secs"]),
        "steps": row["steps"],
        "tokens": {name: row[name] for name in TOKENS},
    }


def _params(within: Range) -> dict[str, Any]:
    return {
        "span": within.span,
        "since": within.starts()[0],
        "step": within.step,
        "epoch": EPOCH,
    }


def _with_open(within: Range, graph_id: str | None) -> dict[str, Any]:
    """The parameters of statements that add the open minutes to longer periods."""
    is_by_minute = within.span == Span.MINUTE
    open_since = EPOCH if is_by_minute else _open_since()
    return _params(within) | {"open_since": open_since, "graph_id": graph_id}


def _open_since() -> datetime:
    """A time before which all minutes are closed; some later ones may be, too."""
    return Counting.objects.values_list("closed_until", flat=True).first() or EPOCH


def _fetch(statement: str, params: Mapping[str, Any]) -> list[dict[str, Any]]:
    with connection.cursor() as cursor:
        cursor.execute(statement, params)
        names = [column.name for column in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
