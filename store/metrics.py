"""A metric for the expired items that the sweep has not deleted yet."""

from __future__ import annotations

from collections.abc import Iterator

from django.db.models.functions import Now
from prometheus_client import Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from spool.store.models import StoreItem

# How many items are counted at most.
MAX_COUNTED = 100_000


class StoreCollector(Collector):
    def collect(self) -> Iterator[Metric]:
        expired = StoreItem.objects.filter(expires_at__lte=Now())
        yield GaugeMetricFamily(
            "spool_store_items_expired",
            "Store items that have expired, and that the sweep has not deleted yet.",
            value=expired[:MAX_COUNTED].count(),
        )
