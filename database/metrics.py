"""Metrics of table sizes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from django.db import connection
from prometheus_client import Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector


class TableSizes(Collector):
    """The size of each given table with its indexes, in bytes."""

    def __init__(self, tables: Sequence[str]) -> None:
        self.tables = tables

    def collect(self) -> Iterator[Metric]:
        size = GaugeMetricFamily(
            "spool_table_bytes", "Size of a table with its indexes.", labels=["table"]
        )
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT name, pg_total_relation_size(name::regclass) "
                "FROM unnest(%s::text[]) AS name",
                [list(self.tables)],
            )
            for table, size_in_bytes in cursor.fetchall():
                size.add_metric([table], size_in_bytes)
        yield size
