"""Metrics in Prometheus's text format: each app has Collectors, registered here.

Figures of the server are read from Postgres on each request, and are the same from
every web process. Figures of one process have the label `process`: a web process shows
its own with those of the server, a worker serves its own on `METRICS_PORT`.

No label has an owner, an id, or text that clients choose; the number of labels with
graphs and revisions is limited. Counters and histograms of one process are in the
library's own registry.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Callable, Iterator, Sequence

from django.db import DatabaseError
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    REGISTRY,
    CollectorRegistry,
    Metric,
    disable_created_metrics,
    generate_latest,
    start_http_server,
)
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

logger = logging.getLogger(__name__)

CONTENT_TYPE = CONTENT_TYPE_LATEST
# How many ports a worker tries, from `METRICS_PORT` on.
MAX_PORTS = 20

# They would double the number of time series, and say nothing.
disable_created_metrics()  # type: ignore[no-untyped-call]

NewCollector = Callable[[], Collector]

_of_server: list[NewCollector] = []
_of_process: list[NewCollector] = []


def register(
    of_server: Sequence[NewCollector], of_process: Sequence[NewCollector]
) -> None:
    """Set the classes of the Collectors, which are created for each request."""
    _of_server[:] = of_server
    _of_process[:] = of_process


class ServerFigures(Collector):
    """The figures from Postgres, and a metric that says whether it could be read."""

    def collect(self) -> Iterator[Metric]:
        try:
            found = [metric for new in _of_server for metric in new().collect()]
        except DatabaseError as exc:
            logger.warning("metrics: Postgres can't be read: %s", exc)
            found = []
        yield GaugeMetricFamily(
            "spool_postgres_up",
            "Whether the figures of the server could be read from Postgres.",
            value=float(bool(found)),
        )
        yield from found


class ProcessFigures(Collector):
    """The figures of this process, with the label `process`."""

    def collect(self) -> Iterator[Metric]:
        process = name_of_process()
        for collector in (REGISTRY, *(new() for new in _of_process)):
            for metric in collector.collect():
                yield _with_label(metric, process)


def name_of_process() -> str:
    return f"{socket.gethostname()}:{os.getpid()}"


def as_prometheus() -> bytes:
    """The figures of the server and of this process, in Prometheus's text format."""
    return generate_latest(_registry(ServerFigures(), ProcessFigures()))


def serve(host: str, first_port: int) -> int | None:
    """Serve the figures of this process in a thread. Returns the port.

    It uses the first free one of `MAX_PORTS` ports, since other workers of this machine
    may use the first ones.
    """
    for port in range(first_port, min(first_port + MAX_PORTS, 65536)):
        try:
            start_http_server(port, host, _registry(ProcessFigures()))
        except OSError as exc:
            logger.info("metrics: port %d: %s", port, exc)
        else:
            logger.info("metrics of this process are on port %d", port)
            return port
    logger.warning("no port is free for metrics from METRICS_PORT %d on", first_port)
    return None


def _registry(*collectors: Collector) -> CollectorRegistry:
    registry = CollectorRegistry()
    for collector in collectors:
        registry.register(collector)
    return registry


def _with_label(metric: Metric, process: str) -> Metric:
    labelled = Metric(metric.name, metric.documentation, metric.type, metric.unit)
    labelled.samples = [
        sample._replace(labels={**sample.labels, "process": process})
        for sample in metric.samples
    ]
    return labelled
