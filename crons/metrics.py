"""Metrics of the lateness of crons."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from django.db import connection
from prometheus_client import Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

# The age of the firings whose lateness is shown.
RECENT = timedelta(minutes=5)
# How many rows are read at most: a million crons may be due after an outage.
MAX_ROWS = 10_000

# Each part reads one index from its end.
_QUERY = """
SELECT
    (
        SELECT count(*) FROM (
            SELECT FROM crons WHERE enabled AND next_run_date <= now() LIMIT %(limit)s
        ) AS due
    ),
    (
        SELECT extract(epoch FROM now() - min(next_run_date))::float8
        FROM crons WHERE enabled AND next_run_date <= now()
    ),
    (
        SELECT max(extract(epoch FROM fired_at - slot))::float8 FROM (
            SELECT fired_at, slot FROM cron_firings
            WHERE fired_at > now() - %(recent)s ORDER BY fired_at DESC LIMIT %(limit)s
        ) AS recent
    )
"""


class CronsCollector(Collector):
    def collect(self) -> Iterator[Metric]:
        with connection.cursor() as cursor:
            params: dict[str, Any] = {"limit": MAX_ROWS, "recent": RECENT}
            cursor.execute(_QUERY, params)
            due, overdue, late = cursor.fetchone()
        yield GaugeMetricFamily(
            "spool_crons_due", "Crons that are due and have not fired yet.", value=due
        )
        lateness = GaugeMetricFamily(
            "spool_cron_lateness_seconds",
            "How late the most overdue cron is, and the latest firing of 5 minutes was.",
            labels=["of"],
        )
        lateness.add_metric(["due"], overdue or 0)
        lateness.add_metric(["fired"], late or 0)
        yield lateness
