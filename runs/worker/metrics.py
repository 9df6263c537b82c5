"""Metrics of this process's worker, if it is one."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from spool.runs.worker import worker


class WorkerCollector(Collector):
    def collect(self) -> Iterator[Metric]:
        if me := worker.existing():
            yield GaugeMetricFamily(
                "spool_worker_runs", "Runs that this worker holds.", value=me.run_count
            )
            yield GaugeMetricFamily(
                "spool_worker_capacity",
                "How many runs this worker may execute at once.",
                value=me.capacity,
            )
