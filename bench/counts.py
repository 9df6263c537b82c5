"""Exact counts of what streamed runs cost: the same on every machine.

Transactions and statements are those that Postgres logs, rows come from its statistics,
and bytes from its WAL. Commands are those that Redis shows to MONITOR; the commands of
a script are not counted. The server is made quiet: no tick, no heartbeats, no vacuum,
and no full pages in the WAL, whose number depends on the time of the last checkpoint.
"""

from __future__ import annotations

import asyncio
import re
import threading
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, cast

import psycopg
import redis

from spool.bench.client import Client
from spool.tests.live import Server, serving, wait_until

CONFIG = Path(__file__).parent / "langgraph.json"
# Periodic work of a server, delayed until long after the measurement.
QUIET = {
    "WORKER_HEARTBEAT_SECS": "3000",
    "WORKER_LEASE_SECS": "6000",
    "STREAM_HEARTBEAT_SECS": "3000",
}
SETTINGS = {
    "log_statement": "all",
    "log_line_prefix": "counted %p %v ",
    "full_page_writes": "off",
    "autovacuum": "off",
    "checkpoint_timeout": "1h",
    "bgwriter_lru_maxpages": "0",
}
STATEMENT = re.compile(
    rb"^counted (\d+) (\S+) LOG:  (?:statement|execute [^:]+): ", re.MULTILINE
)
# An idle session reports all of its statistics after ten seconds.
REPORTED = """
SELECT count(*) = 0 FROM pg_stat_activity
WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()
    AND (state <> 'idle' OR state_change > clock_timestamp() - interval '10.5 s')
"""
ROWS = "SELECT relname, n_tup_ins + n_tup_upd + n_tup_del FROM pg_stat_user_tables"
WAL = "SELECT pg_current_wal_insert_lsn() - '0/0'"
# This command ends the reading of MONITOR.
LAST = "counted"


@dataclass(frozen=True)
class Counts:
    """The counts of one run, or of all runs that were counted together."""

    transactions: float
    statements: float
    rows: float
    wal_bytes: float
    redis_commands: float
    redis_bytes: float

    def each(self, runs: int) -> Counts:
        return Counts(*(getattr(self, field.name) / runs for field in fields(self)))


class QuietServer:
    """A server that does nothing by itself, and counts of what requests cause there."""

    def __init__(self, server: Server, database: psycopg.Connection[Any]) -> None:
        self._server = server
        self._database = database
        url = server.environment()["REDIS_URL"]
        self._redis = redis.Redis.from_url(url)
        self._log = server.home / "logs" / "postgres.log"

    async def count(self, load: Callable[[], Awaitable[object]]) -> Counts:
        rows, wal = self._rows(), self._wal()
        log = self._log.stat().st_size
        sent = self._redis_bytes()
        await load()
        sent = self._redis_bytes() - sent
        rows = self._rows() - rows
        logged = STATEMENT.findall(self._log.read_bytes()[log:])
        ours = str(self._database.info.backend_pid).encode()
        found = [transaction for pid, transaction in logged if pid != ours]
        wal = self._wal() - wal
        with self._monitored() as commands:
            await load()
        self._rows()  # Wait for the last rows, before anything else is counted.
        return Counts(
            len(set(found)), len(found), rows.total(), wal, commands.total(), sent
        )

    def _rows(self) -> Counter[str]:
        """Rows written so far, by table, once all sessions have reported theirs."""
        wait_until(lambda: self._fetch(REPORTED)[0][0], 60, pause=0.5)
        return Counter(dict(self._fetch(ROWS)))

    def _wal(self) -> int:
        return int(self._fetch(WAL)[0][0])

    def _fetch(self, statement: str) -> list[tuple[Any, ...]]:
        return self._database.execute(statement.encode()).fetchall()

    def _redis_bytes(self) -> int:
        info = cast("dict[str, int]", self._redis.info("stats"))
        return info["total_net_input_bytes"] + info["total_net_output_bytes"]

    @contextmanager
    def _monitored(self) -> Iterator[Counter[str]]:
        """The commands that clients send meanwhile.

        The worker polls for messages all the time: only polls with a result count.
        """
        found: Counter[str] = Counter()
        with self._redis.monitor() as monitor:  # type: ignore[no-untyped-call]

            def listen() -> None:
                for shown in monitor.listen():
                    if shown["command"] == f"ECHO {LAST}":
                        return
                    if shown["client_type"] != "lua":
                        found[shown["command"].partition(" ")[0].upper()] += 1

            listening = threading.Thread(target=listen)
            listening.start()
            yield found
            self._rows()  # Viewers unsubscribe after their last byte.
            self._redis.echo(LAST)
            listening.join()
        found["BRPOP"] = found["LPUSH"]
        del found["PING"], found["ECHO"]


@contextmanager
def quiet(config: Path = CONFIG) -> Iterator[tuple[Server, QuietServer]]:
    with (
        serving(config, 1, **QUIET) as server,
        psycopg.connect(
            server.environment()["DATABASE_URL"], autocommit=True
        ) as database,
    ):
        for name, value in SETTINGS.items():
            setting = psycopg.sql.SQL("ALTER SYSTEM SET {} = {}")
            database.execute(
                setting.format(psycopg.sql.Identifier(name), psycopg.sql.Literal(value))
            )
        database.execute("SELECT pg_reload_conf()")
        beat = server.beat()
        beat.suspend()
        try:
            yield server, QuietServer(server, database)
        finally:
            beat.resume()


async def of_streamed_runs(runs: int, *, at_once: int) -> Counts:
    """The counts of one streamed run on a new thread, for both requests together."""
    with quiet() as (server, counting):

        async def load(count: int) -> None:
            room = asyncio.Semaphore(at_once)

            async def one() -> None:
                async with room:
                    await client.stream(await client.new_thread())

            # Use a new client: a connection that was idle meanwhile would be closed.
            async with Client(server.url) as client:
                await asyncio.gather(*[one() for _ in range(count)])

        for _ in range(2):  # Connect, and prepare what is prepared.
            await load(10 + 2 * at_once)
        return (await counting.count(lambda: load(runs))).each(runs)
