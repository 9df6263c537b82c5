"""Prometheus metrics: each app has Collectors, which are registered here.

A Collector computes its figures on each request. Figures from Postgres are the same in
every web process; counters of one process are in the library's own registry.
"""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    REGISTRY,
    CollectorRegistry,
    generate_latest,
)
from prometheus_client.registry import Collector

CONTENT_TYPE = CONTENT_TYPE_LATEST

_collectors: list[Callable[[], Collector]] = []


def register(*collectors: Callable[[], Collector]) -> None:
    """Set the classes of the Collectors, which are created for each request."""
    _collectors[:] = collectors


def as_prometheus() -> bytes:
    """All figures in Prometheus's text format."""
    registry = CollectorRegistry()
    for new_collector in _collectors:
        registry.register(new_collector())
    return generate_latest(REGISTRY) + generate_latest(registry)
