"""Exports the metrics over OTLP; loaded only if OpenTelemetry's variables configure it.

The figures are the same as in Prometheus's format, and read when they are exported. The
server's figures have a separate resource, and one process at a time exports them. If
the receiver is unavailable, exports are dropped, counted, and logged once.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from itertools import pairwise

from django.conf import settings
from django.db import DatabaseError, close_old_connections, connections
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Gauge,
    Histogram,
    HistogramDataPoint,
    MetricExporter,
    MetricExportResult,
    MetricsData,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
    Sum,
)
from opentelemetry.sdk.metrics.export import Metric as OTelMetric
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from prometheus_client import Counter, Metric
from prometheus_client.samples import Sample

from spool.telemetry import otel_resource
from spool.telemetry.metrics import ProcessFigures, ServerFigures
from spool.telemetry.outages import Outage

# The standard variable, in milliseconds, and its default.
INTERVAL = "OTEL_METRIC_EXPORT_INTERVAL"
INTERVAL_MS = 60_000
# Exports by two processes may be a little less than an interval apart.
TOLERANCE = 0.9
# How long a process that ends waits for its last export, in seconds.
STOP_TIMEOUT_SECS = 2.0

DROPPED = Counter("spool_metric_exports_dropped", "Exports that were not accepted.")

Key = tuple[tuple[str, str], ...]


class Exporting:
    """The thread of this process that exports its metrics."""

    def __init__(
        self,
        program: str,
        claim_server: Callable[[timedelta], bool],
        exporter: MetricExporter | None = None,
    ) -> None:
        # The library logs each failed export; `Outage` logs them once.
        logging.getLogger("opentelemetry.exporter").setLevel(logging.CRITICAL)
        self._exporter = exporter or OTLPMetricExporter()
        self._claim_server = claim_server
        self._interval = int(os.environ.get(INTERVAL) or INTERVAL_MS) / 1000
        self._process = otel_resource.of_process(program)
        self._server = otel_resource.of_server()
        self._began = time.time_ns()
        self._receiver = Outage("The receiver of metrics")
        self._receiver.probe = lambda: False  # Only an export shows that it is back.
        self._stopping = threading.Event()
        self._thread = threading.Thread(
            target=self._keep_exporting, name="metrics", daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        """Export once more, but don't wait for a receiver that is away."""
        self._stopping.set()
        self._thread.join(STOP_TIMEOUT_SECS)

    def _keep_exporting(self) -> None:
        while not self._stopping.wait(self._interval):
            self.export()
        self.export()
        self._exporter.shutdown()
        connections.close_all()

    def export(self) -> None:
        """Export the current figures. Errors are logged, so that the thread goes on."""
        try:
            result = self._exporter.export(MetricsData(self._resources()))
        except Exception as exc:
            self._dropped(str(exc))
            return
        if result is MetricExportResult.SUCCESS:
            self._receiver.recovered()
        else:
            self._dropped("metrics were not accepted, and are dropped")

    def _dropped(self, why: str) -> None:
        DROPPED.inc()
        self._receiver.failed(why)

    def _resources(self) -> list[ResourceMetrics]:
        found = [(self._process, list(ProcessFigures().collect()))]
        if self._is_for_server():
            found.append((self._server, list(ServerFigures().collect())))
        now = time.time_ns()
        return [
            _resource_metrics(resource, families, self._began, now)
            for resource, families in found
        ]

    def _is_for_server(self) -> bool:
        close_old_connections()
        try:
            return self._claim_server(timedelta(seconds=self._interval * TOLERANCE))
        except DatabaseError:
            return False  # Without Postgres, there are no figures of the server.


def _resource_metrics(
    resource: Resource, families: Iterable[Metric], began: int, now: int
) -> ResourceMetrics:
    scope = InstrumentationScope("spool", settings.VERSION)
    metrics = [
        OTelMetric(family.name, family.documentation, family.unit, data)
        for family in families
        if (data := _data(family, began, now))
    ]
    return ResourceMetrics(resource, [ScopeMetrics(scope, metrics, "")], "")


def _data(family: Metric, began: int, now: int) -> Sum | Gauge | Histogram | None:
    if not family.samples:
        return None
    if family.type == "histogram":
        points = _histograms(family.samples, began, now)
        return Histogram(points, AggregationTemporality.CUMULATIVE)
    numbers = [
        NumberDataPoint(_attributes(sample.labels), began, now, float(sample.value))
        for sample in family.samples
    ]
    if family.type == "counter":
        return Sum(numbers, AggregationTemporality.CUMULATIVE, is_monotonic=True)
    return Gauge(numbers)


def _histograms(
    samples: Iterable[Sample], began: int, now: int
) -> list[HistogramDataPoint]:
    found: defaultdict[Key, list[Sample]] = defaultdict(list)
    for sample in samples:
        found[tuple(sorted(_attributes(sample.labels).items()))].append(sample)
    return [_histogram(dict(key), of_key, began, now) for key, of_key in found.items()]


def _histogram(
    attributes: dict[str, str], samples: list[Sample], began: int, now: int
) -> HistogramDataPoint:
    sums = [s.value for s in samples if s.name.endswith("_sum")]
    buckets = [
        (float(s.labels["le"]), int(s.value))
        for s in samples
        if s.name.endswith("_bucket")
    ]
    below = [0, *(count for _, count in buckets)]
    return HistogramDataPoint(
        attributes=attributes,
        start_time_unix_nano=began,
        time_unix_nano=now,
        count=below[-1],
        sum=sum(sums),
        bucket_counts=[b - a for a, b in pairwise(below)],
        explicit_bounds=[bound for bound, _ in buckets[:-1]],
        # Unknown, and optional in the protocol.
        min=None,  # type: ignore[arg-type]
        max=None,  # type: ignore[arg-type]
    )


def _attributes(labels: Mapping[str, str]) -> dict[str, str]:
    # The process is the resource.
    return {k: v for k, v in labels.items() if k not in ("le", "process")}
