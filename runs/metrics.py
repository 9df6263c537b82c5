"""Metrics of runs, of their queue and of the workers, from Postgres."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from django.conf import settings
from django.db import connection
from prometheus_client import Metric
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
)
from prometheus_client.registry import Collector

from spool.runs import figures
from spool.runs.counting import ENDS, RESUMED
from spool.runs.figures import Histogram, Totals
from spool.runs.periods import BUCKETS

# The labels of metrics of ended runs. There are few classes, and the numbers of graphs
# and revisions are limited.
BY_CLASS = ("graph", "class")
BY_REVISION = ("graph", "class", "revision")
# The kinds of tokens; `cached` and `cache_written` are part of `input`, and `reasoning`
# is part of `output`.
KINDS = ("input", "output", "cached", "cache_written", "reasoning")


@dataclass(frozen=True)
class Queue:
    n_pending: int
    n_running: int
    pending_runs_wait_time_max_secs: float
    pending_runs_wait_time_med_secs: float
    # Only of runs that wait for a worker, not for another run of their thread.
    pending_unblocked_runs_wait_time_max_secs: float


@dataclass(frozen=True)
class Workers:
    """The slots for runs, of all live workers together."""

    max: int
    active: int
    available: int


class QueueCollector(Collector):
    """Active runs, free slots, and whether the tick runs."""

    def collect(self) -> Iterator[Metric]:
        runs = GaugeMetricFamily(
            "spool_runs", "Active runs by status.", labels=["class", "status"]
        )
        oldest = GaugeMetricFamily(
            "spool_pending_run_wait_seconds",
            "Age of the oldest pending run that waits only for a worker.",
            labels=["class"],
        )
        running = 0
        for run_class, queue in sorted(figures.queue_now().items()):
            runs.add_metric([run_class, "pending"], queue.waiting)
            runs.add_metric([run_class, "running"], queue.running)
            oldest.add_metric([run_class], queue.oldest_secs)
            running += queue.running
        yield runs
        yield oldest
        yield from _slots(running)
        yield from _tick()


class EndedCollector(Collector):
    """Counters and histograms of what ended, since the server's first run."""

    def collect(self) -> Iterator[Metric]:
        by_class = figures.ever_by_class()
        by_revision = figures.ever_by_revision()
        yield from _times(by_class, by_revision)
        yield from _ends(by_class, by_revision)
        yield from _work(by_revision)


def _times(by_class: list[Totals], by_revision: list[Totals]) -> Iterator[Metric]:
    yield _histogram(
        "spool_run_delay_seconds",
        "From a run's creation to its start, of runs that ended.",
        BY_CLASS,
        ((_class(each), each.delay) for each in by_class),
    )
    yield _histogram(
        "spool_run_duration_seconds",
        "From a run's start to its end.",
        BY_REVISION,
        ((_revision(each), each.duration) for each in by_revision),
    )


def _ends(by_class: list[Totals], by_revision: list[Totals]) -> Iterator[Metric]:
    yield _counter(
        "spool_runs_ended",
        "Runs that ended, by outcome.",
        (*BY_REVISION, "outcome"),
        (
            ((*_revision(each), outcome), getattr(each.outcomes, outcome))
            for each in by_revision
            for outcome in ENDS
        ),
    )
    yield _counter(
        "spool_run_attempts_resumed",
        "Attempts that ended without their run, which another attempt resumed.",
        (*BY_CLASS, "reason"),
        (
            ((*_class(each), reason), getattr(each.outcomes, reason))
            for each in by_class
            for reason in RESUMED
        ),
    )


def _work(by_revision: list[Totals]) -> Iterator[Metric]:
    yield _counter(
        "spool_run_steps",
        "Executions of nodes.",
        BY_REVISION,
        ((_revision(each), each.steps) for each in by_revision),
    )
    yield _counter(
        "spool_model_calls",
        "Calls of models.",
        BY_REVISION,
        ((_revision(each), each.tokens["calls"]) for each in by_revision),
    )
    yield _counter(
        "spool_tokens",
        "Tokens of models, as these report them.",
        (*BY_REVISION, "kind"),
        (
            ((*_revision(each), kind), each.tokens[kind])
            for each in by_revision
            for kind in KINDS
        ),
    )


def queue_figures() -> dict[str, Any]:
    """The parts `queue` and `workers` of `/metrics?format=json`."""
    with connection.cursor() as cursor:
        cursor.execute(_QUERY, {"lease": settings.WORKER_LEASE_SECS})
        pending, running, longest, median, ready, capacity = cursor.fetchone()
    queue = Queue(pending, running, float(longest), float(median), float(ready))
    return {"queue": asdict(queue), "workers": asdict(_workers(capacity, running))}


def _workers(capacity: int, running: int) -> Workers:
    return Workers(capacity, running, max(capacity - running, 0))


def _slots(running: int) -> Iterator[Metric]:
    with connection.cursor() as cursor:
        cursor.execute(_CAPACITY, {"lease": settings.WORKER_LEASE_SECS})
        capacity, alive = cursor.fetchone()
    slots = GaugeMetricFamily(
        "spool_worker_slots",
        "Slots for runs in live workers.",
        labels=["state"],
    )
    for state, count in asdict(_workers(capacity, running)).items():
        slots.add_metric([state], count)
    yield slots
    yield GaugeMetricFamily("spool_workers", "Workers that are alive.", value=alive)


def _tick() -> Iterator[Metric]:
    if (age := figures.tick_age()) is not None:
        yield GaugeMetricFamily(
            "spool_tick_age_seconds",
            "Time since the tick last counted ended runs, which it does every 5 seconds.",
            value=age,
        )


def _class(each: Totals) -> tuple[str, ...]:
    return each.graph_id, each.run_class


def _revision(each: Totals) -> tuple[str, ...]:
    return each.graph_id, each.run_class, each.revision


def _counter(
    name: str,
    text: str,
    labels: Sequence[str],
    values: Iterable[tuple[tuple[str, ...], int]],
) -> Metric:
    family = CounterMetricFamily(name, text, labels=labels)
    for key, value in values:
        family.add_metric(key, value)
    return family


def _histogram(
    name: str,
    text: str,
    labels: Sequence[str],
    values: Iterable[tuple[tuple[str, ...], Histogram]],
) -> Metric:
    family = HistogramMetricFamily(name, text, labels=labels)
    for key, histogram in values:
        family.add_metric(key, _cumulative(histogram), histogram.total_secs)
    return family


def _cumulative(histogram: Histogram) -> list[tuple[str, float]]:
    """The buckets in Prometheus's form: each counts all values up to its bound."""
    bounds = [*(str(float(bound)) for bound in BUCKETS), "+Inf"]
    counted, buckets = 0, []
    for bound, count in zip(bounds, histogram.counts, strict=True):
        counted += count
        buckets.append((bound, float(counted)))
    return buckets


_CAPACITY = """
SELECT coalesce(sum(capacity), 0), count(*) FROM workers
WHERE expired_at IS NULL AND heartbeat_at > now() - make_interval(secs => %(lease)s)
"""

# Every part is answered by a partial index. Runs that are due later (`after_seconds`)
# are pending, but block no other run.
_QUERY = """
SELECT
    count(*),
    (SELECT count(*) FROM runs WHERE status = 'running'),
    coalesce(max(waited), 0),
    coalesce(percentile_cont(0.5) WITHIN GROUP (ORDER BY waited), 0),
    coalesce(max(waited) FILTER (WHERE dispatched_at IS NOT NULL), 0),
    (
        SELECT coalesce(sum(capacity), 0) FROM workers
        WHERE expired_at IS NULL
        AND heartbeat_at > now() - make_interval(secs => %(lease)s)
    )
FROM (
    SELECT extract(epoch FROM now() - created_at) AS waited, dispatched_at
    FROM runs WHERE status = 'pending' AND created_at <= now()
) AS pending
"""
