"""What Spool tells Prometheus: the queue, the workers, and this web process."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from django.conf import settings
from django.db import connection
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    REGISTRY,
    CollectorRegistry,
    Counter,
    Gauge,
    generate_latest,
)

CONTENT_TYPE = CONTENT_TYPE_LATEST

requests_answered = Counter(
    "spool_http_requests",
    "Requests that this web process has answered.",
    ["method", "status"],
)


@dataclass(frozen=True)
class Queue:
    n_pending: int
    n_running: int
    pending_runs_wait_time_max_secs: float
    pending_runs_wait_time_med_secs: float


@dataclass(frozen=True)
class Workers:
    """Places for runs in all the workers that are alive."""

    max: int
    active: int
    available: int


class CountRequests:
    """Middleware that counts answers by method and status."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        response = self.get_response(request)
        requests_answered.labels(_method(request), str(response.status_code)).inc()
        return response


def as_json() -> dict[str, Any]:
    queue, workers = _read()
    answered = sum(
        sample.value
        for metric in requests_answered.collect()
        for sample in metric.samples
        if sample.name.endswith("_total")
    )
    return {
        "queue": asdict(queue),
        "workers": asdict(workers),
        "api": {"http_requests_total": int(answered)},
    }


def as_prometheus() -> bytes:
    queue, workers = _read()
    registry = CollectorRegistry()
    runs = Gauge("spool_runs", "Runs by status.", ["status"], registry=registry)
    runs.labels("pending").set(queue.n_pending)
    runs.labels("running").set(queue.n_running)
    waiting = Gauge(
        "spool_pending_run_wait_seconds",
        "How long pending runs have been waiting.",
        ["statistic"],
        registry=registry,
    )
    waiting.labels("max").set(queue.pending_runs_wait_time_max_secs)
    waiting.labels("median").set(queue.pending_runs_wait_time_med_secs)
    slots = Gauge(
        "spool_worker_slots",
        "Places for runs in the workers that are alive.",
        ["state"],
        registry=registry,
    )
    for state, count in asdict(workers).items():
        slots.labels(state).set(count)
    _add_storage(registry)
    expired = Gauge(
        "spool_store_items_expired",
        "Store items whose time is over, and that the sweep has still to delete.",
        registry=registry,
    )
    expired.set(_expired_items())
    return generate_latest(REGISTRY) + generate_latest(registry)


def _add_storage(registry: CollectorRegistry) -> None:
    """What lies in Postgres, and what the sweep has taken away."""
    swept = Counter(
        "spool_swept_threads",
        "Threads that were removed, or cut down to their latest state.",
        ["kind"],
        registry=registry,
    )
    size = Gauge(
        "spool_table_bytes",
        "Size of a table with its indexes.",
        ["table"],
        registry=registry,
    )
    with connection.cursor() as cursor:
        cursor.execute("SELECT kind, total FROM swept_threads")
        for kind, total in cursor.fetchall():
            swept.labels(kind).inc(total)
        cursor.execute(
            "SELECT name, pg_total_relation_size(name::regclass) FROM unnest(%s::text[]) name",
            [MEASURED_TABLES],
        )
        for table, size_in_bytes in cursor.fetchall():
            size.labels(table).set(size_in_bytes)


MEASURED_TABLES = [
    "threads",
    "runs",
    "checkpoints",
    "checkpoint_blobs",
    "checkpoint_writes",
    "store_items",
]


def _method(request: HttpRequest) -> str:
    # A client can't make a new time series by making up a method.
    method = request.method or ""
    return method if method in _METHODS else "other"


_METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}


def _read() -> tuple[Queue, Workers]:
    with connection.cursor() as cursor:
        cursor.execute(_QUERY, {"lease": settings.WORKER_LEASE_SECS})
        pending, running, longest, median, capacity = cursor.fetchone()
    available = max(capacity - running, 0)
    return (
        Queue(pending, running, float(longest), float(median)),
        Workers(capacity, running, available),
    )


def _expired_items() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM store_items WHERE expires_at <= now()")
        count: int = cursor.fetchone()[0]
    return count


# Every part is answered by a partial index. Runs that wait for their time
# (`after_seconds`) are pending, but not in anybody's way.
_QUERY = """
SELECT
    count(*),
    (SELECT count(*) FROM runs WHERE status = 'running'),
    coalesce(max(waited), 0),
    coalesce(percentile_cont(0.5) WITHIN GROUP (ORDER BY waited), 0),
    (
        SELECT coalesce(sum(capacity), 0) FROM workers
        WHERE expired_at IS NULL
        AND heartbeat_at > now() - make_interval(secs => %(lease)s)
    )
FROM (
    SELECT extract(epoch FROM now() - created_at) AS waited
    FROM runs WHERE status = 'pending' AND created_at <= now()
) AS pending
"""
