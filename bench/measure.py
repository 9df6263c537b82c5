"""The measurements and their budgets."""

from __future__ import annotations

import asyncio
import statistics
import time
import uuid
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial

import psutil
import psycopg

from spool.bench.client import ENDED, Client
from spool.bench.counts import Counts
from spool.bench.floor import Floor
from spool.tests.live import Server

CLIENTS = 16
STREAMS = 20
TOKENS = 1000


@dataclass(frozen=True)
class Row:
    """One line of the report.

    `budget` limits `value`, or its multiple of the `floor` if it has one; None: there
    is no limit.
    """

    name: str
    value: float
    unit: str
    budget: float | None = None
    more_is_better: bool = False
    details: dict[str, float] = field(default_factory=dict)
    # CPU milliseconds of the same graph with LangGraph alone, at the same moment.
    floor: float | None = None

    @property
    def measured(self) -> float:
        """The number that the budget limits."""
        return self.value / self.floor if self.floor else self.value

    @property
    def is_met(self) -> bool:
        if self.budget is None:
            return True
        if self.more_is_better:
            return self.measured >= self.budget
        return self.measured <= self.budget


class Meter:
    """CPU seconds and memory of every process of the server, added up."""

    def __init__(self, server: Server) -> None:
        self._server = server

    def cpu_secs(self) -> float:
        # The four values include the times of children that have ended.
        return self._sum(lambda process: sum(process.cpu_times()[:4]))

    def memory_mb(self) -> float:
        return self._sum(lambda process: process.memory_full_info().pss / 2**20)

    def _sum(self, measured: Callable[[psutil.Process], float]) -> float:
        total = 0.0
        for process in self._server.processes():
            with suppress(psutil.NoSuchProcess):  # The process has just ended.
                total += measured(process)
        return total


class Benchmark:
    def __init__(
        self,
        server: Server,
        client: Client,
        floor: Floor,
        *,
        seconds: float,
        runs: int,
    ) -> None:
        self.meter = Meter(server)
        self.server = server
        self.floor = floor
        self.client = client
        self.seconds = seconds
        self.runs = runs

    async def rows(self) -> list[Row]:
        client = self.client
        thread_id = await client.new_thread()
        for _ in range(5):  # Let every process finish its lazy imports.
            await client.stream(await client.new_thread())
        new = {"metadata": {"bench": 1}}
        measurements: list[Callable[[], Awaitable[list[Row]]]] = [
            lambda: self._load(
                "GET thread", 0.75, lambda: client.call("GET", f"/threads/{thread_id}")
            ),
            lambda: self._load(
                "POST thread", 0.9, lambda: client.call("POST", "/threads", new)
            ),
            self._search,
            lambda: self._load(
                "PUT store item",
                0.9,
                lambda: client.call("PUT", "/store/items", _item()),
            ),
            self._streamed_runs,
            self._background_runs,
            self._tokens,
            self._wait,
            self._first_event,
        ]
        rows = [row for one in measurements for row in await self.beside_floor(one)]
        rows.append(Row("memory of all processes", self.meter.memory_mb(), "MB", 300))
        return rows

    async def beside_floor(
        self, measurement: Callable[[], Awaitable[list[Row]]]
    ) -> list[Row]:
        """The rows of a measurement, with the mean of the floor before and after it."""
        before = self.floor.ms()
        rows = await measurement()
        floor = (before + self.floor.ms()) / 2
        return [
            replace(row, floor=floor) if row.unit.startswith("ms") else row
            for row in rows
        ]

    async def _load(
        self, name: str, budget: float, request: Callable[[], Awaitable[object]]
    ) -> list[Row]:
        """Send the same request from a few clients at once, for a few seconds."""
        await request()
        taken: list[float] = []
        stop_at = time.perf_counter() + self.seconds

        async def one_client() -> None:
            while (begun := time.perf_counter()) < stop_at:
                await request()
                taken.append(time.perf_counter() - begun)

        cpu, begun = self.meter.cpu_secs(), time.perf_counter()
        await asyncio.gather(*[one_client() for _ in range(CLIENTS)])
        elapsed = time.perf_counter() - begun
        cpu_ms = 1000 * (self.meter.cpu_secs() - cpu) / len(taken)
        details = {"per second": len(taken) / elapsed, **percentiles(taken)}
        return [Row(name, cpu_ms, "ms CPU", budget, details=details)]

    async def _search(self) -> list[Row]:
        # Analyse the table, as autovacuum does within a minute of so many new rows.
        url = self.server.environment()["DATABASE_URL"]
        with psycopg.connect(url, autocommit=True) as database:
            database.execute("ANALYZE threads")
        search = {"limit": 10, "metadata": {"bench": 1}}
        return await self._load(
            "search 10 of many threads",
            1.7,
            lambda: self.client.call("POST", "/threads/search", search),
        )

    async def _streamed_runs(self) -> list[Row]:
        async def one() -> float:
            streamed = await self.client.stream(await self.client.new_thread())
            return streamed.total_secs

        cpu, begun = self.meter.cpu_secs(), time.perf_counter()
        taken = await a_few_at_once([one] * self.runs)
        elapsed = time.perf_counter() - begun
        cpu_ms = 1000 * (self.meter.cpu_secs() - cpu) / self.runs
        details = {"per second": self.runs / elapsed, **percentiles(taken)}
        return [
            Row(
                "one streamed run on a new thread", cpu_ms, "ms CPU", 8, details=details
            )
        ]

    async def _background_runs(self) -> list[Row]:
        client = self.client
        threads = [await client.new_thread() for _ in range(self.runs)]
        left: dict[str, str] = {}

        async def start(thread_id: str) -> float:
            begun = time.perf_counter()
            left[await client.start(thread_id)] = thread_id
            return time.perf_counter() - begun

        cpu, begun = self.meter.cpu_secs(), time.perf_counter()
        created = await a_few_at_once([partial(start, thread) for thread in threads])
        # Send few requests that find a run unfinished: each costs a part of a run.
        while left:
            run_id, thread_id = next(iter(left.items()))
            status = await client.run_status(thread_id, run_id)
            if status == "success":
                del left[run_id]
            elif status in ENDED:
                raise RuntimeError(f"run {run_id} ended as {status}")
            else:
                await asyncio.sleep(0.02)
        elapsed = time.perf_counter() - begun
        cpu_ms = 1000 * (self.meter.cpu_secs() - cpu) / self.runs
        return [
            Row(
                "one background run",
                cpu_ms,
                "ms CPU",
                6,
                details={f"create {k}": v for k, v in percentiles(created).items()},
            ),
            Row("background runs", self.runs / elapsed, "a second"),
        ]

    async def _tokens(self) -> list[Row]:
        thread_id = await self.client.new_thread()
        cpu = self.meter.cpu_secs()
        streamed = await self.client.stream(
            thread_id, str(TOKENS), graph="tokens", mode="messages-tuple"
        )
        cpu_ms = 1000 * (self.meter.cpu_secs() - cpu) / streamed.events
        details = {
            "per second": streamed.events / streamed.total_secs,
            "LangGraph alone": self.floor.token_ms(),
        }
        return [Row("a streamed token", cpu_ms, "ms CPU", 0.26, details=details)]

    async def _wait(self) -> list[Row]:
        taken = [
            await self.client.wait(await self.client.new_thread()) for _ in range(40)
        ]
        found = percentiles(taken)
        return [
            Row("wait, one after another", found["p50 ms"], "ms p50", 11, False, found)
        ]

    async def _first_event(self) -> list[Row]:
        taken = [
            (await self.client.stream(await self.client.new_thread())).first_secs
            for _ in range(40)
        ]
        found = percentiles(taken)
        return [
            Row("first event of a stream", found["p50 ms"], "ms p50", 4, False, found)
        ]


def count_rows(counts: Counts) -> list[Row]:
    """Rows for the exact counts of one streamed run on a new thread, with budgets."""
    return [
        Row("Postgres transactions", counts.transactions, "", 4),
        Row("Postgres statements", counts.statements, "", 5),
        Row("Postgres rows written", counts.rows, "", 21),
        Row("WAL", counts.wal_bytes / 1024, "KB", 14),
        Row("Redis commands", counts.redis_commands, "", 4),
        Row("Redis bytes", counts.redis_bytes / 1024, "KB"),
    ]


def _item() -> dict[str, object]:
    return {"namespace": ["bench"], "key": uuid.uuid4().hex, "value": {"x": 1}}


async def a_few_at_once(
    jobs: list[Callable[[], Awaitable[float]]],
) -> list[float]:
    semaphore = asyncio.Semaphore(STREAMS)

    async def one(job: Callable[[], Awaitable[float]]) -> float:
        async with semaphore:
            return await job()

    return await asyncio.gather(*[one(job) for job in jobs])


def percentiles(seconds: list[float]) -> dict[str, float]:
    return {
        "p50 ms": 1000 * statistics.median(seconds),
        "p99 ms": 1000 * statistics.quantiles(seconds, n=100)[98],
    }
