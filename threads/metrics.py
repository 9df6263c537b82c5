"""Metrics of the sweep of threads."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from django.conf import settings
from django.db.models.functions import Now
from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from spool.threads.models import SweptThreads, Thread

# What the sweep does, see `threads.sweeping`.
KINDS = ("expired", "pruned", "discarded")
# The maximum number of threads that are counted.
MAX_COUNTED = 100_000


class ThreadsCollector(Collector):
    def collect(self) -> Iterator[Metric]:
        swept = CounterMetricFamily(
            "spool_swept_threads",
            "Threads that were removed, or pruned to their latest state.",
            labels=["kind"],
        )
        totals = dict(SweptThreads.objects.values_list("kind", "total"))
        for kind in KINDS:
            swept.add_metric([kind], totals.get(kind, 0))
        yield swept
        kept = timedelta(seconds=settings.RESUMABLE_STREAM_TTL_SECONDS)
        unswept = GaugeMetricFamily(
            "spool_unswept_threads",
            "Expired threads that the sweep has not removed yet.",
            labels=["kind"],
        )
        expired = Thread.objects.filter(expires_at__lte=Now())
        discarded = Thread.objects.filter(discarded_at__lte=Now() - kept)
        for kind, threads in (("expired", expired), ("discarded", discarded)):
            unswept.add_metric([kind], threads[:MAX_COUNTED].count())
        yield unswept
