"""A metric of this process's viewers."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from spool.runs.streaming.fanout import viewer_count


class ViewersCollector(Collector):
    def collect(self) -> Iterator[Metric]:
        yield GaugeMetricFamily(
            "spool_stream_viewers",
            "Open streams, and requests that wait for a run, of this process.",
            value=viewer_count(),
        )
