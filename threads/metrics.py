"""Metrics of the sweep of threads."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector

from spool.threads.models import SweptThreads


class ThreadsCollector(Collector):
    def collect(self) -> Iterator[Metric]:
        swept = CounterMetricFamily(
            "spool_swept_threads",
            "Threads that were removed, or cut down to their latest state.",
            labels=["kind"],
        )
        for kind, total in SweptThreads.objects.values_list("kind", "total"):
            swept.add_metric([kind], total)
        yield swept
