"""Metrics of the webhooks that wait to be sent."""

from __future__ import annotations

from collections.abc import Iterator

from django.db import connection
from prometheus_client import Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

# The maximum number of rows that each count reads, by a partial index.
MAX_ROWS = 100_000

_QUERY = """
SELECT
    (
        SELECT count(*) FROM (
            SELECT FROM webhook_deliveries WHERE next_attempt_at IS NOT NULL
            LIMIT %(limit)s
        ) AS waiting
    ),
    (
        SELECT count(*) FROM (
            SELECT FROM webhook_deliveries
            WHERE next_attempt_at IS NULL AND delivered_at IS NULL LIMIT %(limit)s
        ) AS given_up
    ),
    (
        SELECT greatest(extract(epoch FROM now() - min(next_attempt_at)), 0)::float8
        FROM webhook_deliveries WHERE next_attempt_at IS NOT NULL
    )
"""


class WebhooksCollector(Collector):
    def collect(self) -> Iterator[Metric]:
        with connection.cursor() as cursor:
            cursor.execute(_QUERY, {"limit": MAX_ROWS})
            waiting, given_up, overdue = cursor.fetchone()
        deliveries = GaugeMetricFamily(
            "spool_webhook_deliveries",
            "Webhooks that wait for an attempt, or were given up and are still stored.",
            labels=["state"],
        )
        deliveries.add_metric(["waiting"], waiting)
        deliveries.add_metric(["given_up"], given_up)
        yield deliveries
        yield GaugeMetricFamily(
            "spool_webhook_overdue_seconds",
            "Time since the most overdue webhook attempt was due.",
            value=overdue or 0,
        )
