"""Metrics of the queue of runs and of the workers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from django.conf import settings
from django.db import connection
from prometheus_client import Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector


@dataclass(frozen=True)
class Queue:
    n_pending: int
    n_running: int
    pending_runs_wait_time_max_secs: float
    pending_runs_wait_time_med_secs: float
    # Of runs that wait only for a worker, not for another run of their thread.
    pending_unblocked_runs_wait_time_max_secs: float


@dataclass(frozen=True)
class Workers:
    """The slots for runs of all workers that are alive."""

    max: int
    active: int
    available: int


class RunsCollector(Collector):
    def collect(self) -> Iterator[Metric]:
        queue, workers = _read()
        runs = GaugeMetricFamily("spool_runs", "Runs by status.", labels=["status"])
        runs.add_metric(["pending"], queue.n_pending)
        runs.add_metric(["running"], queue.n_running)
        yield runs
        waiting = GaugeMetricFamily(
            "spool_pending_run_wait_seconds",
            "How long pending runs have been waiting.",
            labels=["statistic"],
        )
        waiting.add_metric(["max"], queue.pending_runs_wait_time_max_secs)
        waiting.add_metric(["median"], queue.pending_runs_wait_time_med_secs)
        yield waiting
        slots = GaugeMetricFamily(
            "spool_worker_slots",
            "Places for runs in the workers that are alive.",
            labels=["state"],
        )
        for state, count in asdict(workers).items():
            slots.add_metric([state], count)
        yield slots


def queue_figures() -> dict[str, Any]:
    """The parts `queue` and `workers` of `/metrics?format=json`."""
    queue, workers = _read()
    return {"queue": asdict(queue), "workers": asdict(workers)}


def _read() -> tuple[Queue, Workers]:
    with connection.cursor() as cursor:
        cursor.execute(_QUERY, {"lease": settings.WORKER_LEASE_SECS})
        pending, running, longest, median, ready, capacity = cursor.fetchone()
    available = max(capacity - running, 0)
    return (
        Queue(pending, running, float(longest), float(median), float(ready)),
        Workers(capacity, running, available),
    )


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
