"""Metrics of table sizes, and of this process's pools of connections."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from django.db import connection
from prometheus_client import Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from spool.database.loop import open_pools


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


class PoolsCollector(Collector):
    """The connections of all pools of this process, and the calls that wait for one."""

    def collect(self) -> Iterator[Metric]:
        found: Counter[str] = Counter()
        for pool in open_pools():
            found.update(pool.get_stats())
            found["pool_available"] += pool.held.idle_count
        connections = GaugeMetricFamily(
            "spool_postgres_pool_connections",
            "Connections to Postgres in the pools for graphs and checkpoints.",
            labels=["state"],
        )
        idle = found["pool_available"]
        connections.add_metric(["in_use"], max(found["pool_size"] - idle, 0))
        connections.add_metric(["idle"], idle)
        connections.add_metric(["max"], found["pool_max"])
        yield connections
        yield GaugeMetricFamily(
            "spool_postgres_pool_waiting",
            "Calls that wait for a connection of these pools.",
            value=found["requests_waiting"],
        )
