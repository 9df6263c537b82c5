"""Metrics of this web process's responses."""

from __future__ import annotations

from collections.abc import Callable

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from prometheus_client import Counter

_METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}

requests_answered = Counter(
    "spool_http_requests",
    "Requests that this web process has answered.",
    ["method", "status"],
)


class CountRequests:
    """Middleware that counts answers by method and status."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        response = self.get_response(request)
        requests_answered.labels(_method(request), str(response.status_code)).inc()
        return response


def total_answered() -> int:
    """How many requests this process has answered."""
    return int(
        sum(
            sample.value
            for metric in requests_answered.collect()
            for sample in metric.samples
            if sample.name.endswith("_total")
        )
    )


def _method(request: HttpRequest) -> str:
    # A client can't make a new time series by making up a method.
    method = request.method or ""
    return method if method in _METHODS else "other"
