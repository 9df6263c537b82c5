"""Metrics of this web process's responses and threads."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

from django.conf import settings
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from prometheus_client import Counter, Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from spool.web.thread_pool import database_threads

_METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}

requests_answered = Counter(
    "spool_http_requests",
    "Requests that this web process has answered.",
    ["method", "path", "status"],
)


class CountRequests:
    """Middleware that counts responses by method, route and status."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        response = self.get_response(request)
        match = request.resolver_match
        route = match.route if match else None
        _counter(request.method or "", route, response).inc()
        return response


class ThreadsCollector(Collector):
    """How busy the threads are that answer requests."""

    def collect(self) -> Iterator[Metric]:
        active, most = database_threads.active, settings.WEB_THREADS
        threads = GaugeMetricFamily(
            "spool_web_threads",
            "Threads that answer requests, each with a connection to Postgres.",
            labels=["state"],
        )
        threads.add_metric(["busy"], min(active, most))
        threads.add_metric(["max"], most)
        yield threads
        yield GaugeMetricFamily(
            "spool_web_requests_waiting",
            "Requests that wait for one of these threads.",
            value=max(active - most, 0),
        )


def requests_by_route() -> list[dict[str, Any]]:
    """How many requests this process has answered, in the official server's format."""
    return [
        {
            "method": sample.labels["method"],
            "path": sample.labels["path"],
            "status": int(sample.labels["status"]),
            "count": int(sample.value),
        }
        for metric in requests_answered.collect()
        for sample in metric.samples
        if sample.name.endswith("_total")
    ]


_counters: dict[tuple[str, str | None, int], Counter] = {}


def _counter(method: str, route: str | None, response: HttpResponseBase) -> Counter:
    # A client can't create a new time series by inventing a method or a path.
    key = (method if method in _METHODS else "other", route, response.status_code)
    if (known := _counters.get(key)) is None:
        path = _path(route)
        known = requests_answered.labels(key[0], path, str(response.status_code))
        _counters[key] = known
    return known


def _path(route: str | None) -> str:
    """A route in OpenAPI's format, `/threads/{thread_id}`; empty for unknown paths."""
    return "" if route is None else "/" + re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", route)
