"""Prometheus metrics: each app has Collectors, which are registered here.

A Collector's figures are read when somebody asks for them. Those from Postgres are the
same in every web process; what one process has counted is in the library's own registry.
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
    """Have these asked for `/metrics`: classes, each made anew for each request."""
    _collectors[:] = collectors


def as_prometheus() -> bytes:
    """All figures in Prometheus's text format."""
    registry = CollectorRegistry()
    for new_collector in _collectors:
        registry.register(new_collector())
    return generate_latest(REGISTRY) + generate_latest(registry)
