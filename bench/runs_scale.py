"""`python -m bench.runs_scale`: many viewers, many streams, and many runs that wait.

It starts its own server, with one web process and one worker.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import aiohttp
import psycopg
import redis

from spool.bench import report
from spool.bench.client import INPUT, Client
from spool.bench.measure import Meter, Row
from spool.tests.live import Server, Worker, wait_until

CONFIG = Path(__file__).parent / "langgraph.json"
HEADING = "Many viewers, many streams, many runs"
ABOUT = """\
`python -m bench.runs_scale`. One web process and one worker with its default of ten
runs at once; the client is on the same machine."""
VIEWERS = 2000
STREAMS = 500
QUEUED = 10_000
BATCH = 250
# How many of the viewers' threads get a run while all viewers are connected.
SHOWN = 100
IDLE_SECS = 12.0
TOKENS = "20"


class Probe:
    """Measures the server's resources from outside."""

    def __init__(self, server: Server) -> None:
        self.meter = Meter(server)
        self._web = server.web()
        environment = server.environment()
        self._database = psycopg.connect(environment["DATABASE_URL"], autocommit=True)
        self._redis = redis.Redis.from_url(environment["REDIS_URL"])

    def ask(self, query: str) -> list[tuple[Any, ...]]:
        return self._database.execute(query.encode()).fetchall()

    def web_kb(self) -> float:
        return float(self._web.memory_full_info().uss) / 1024

    def web_cpu(self) -> float:
        return float(sum(self._web.cpu_times()[:2]))

    def web_threads(self) -> int:
        return int(self._web.num_threads())

    def database_connections(self) -> int:
        [(number,)] = self.ask(
            "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'"
        )
        return int(number)

    def subscribers(self) -> int:
        """Connections to Redis that listen to a thread."""
        clients: Any = self._redis.client_list()
        return sum(int(client["sub"]) > 1 for client in clients)


# --- Viewers ----------------------------------------------------------------------
class Viewer:
    """A client that reads a thread's stream and counts its events."""

    def __init__(self, thread_id: str) -> None:
        self.thread_id = thread_id
        self.beats = 0
        self.runs_done = 0
        self.is_open = False

    async def look(self, session: aiohttp.ClientSession) -> None:
        async with session.get(f"/threads/{self.thread_id}/stream") as response:
            self.is_open = True
            async for line in response.content:
                self.beats += line.startswith(b": heartbeat")
                self.runs_done += b'"run_done"' in line
        self.is_open = False


async def viewers(server: Server, client: Client) -> list[Row]:
    probe = Probe(server)
    many = await threads(client, VIEWERS)
    await client.call("GET", "/ok")
    before = (probe.web_kb(), probe.web_threads(), probe.database_connections())
    looking = [Viewer(thread_id) for thread_id in many]
    async with aiohttp.ClientSession(
        server.url,
        connector=aiohttp.TCPConnector(limit=0),
        timeout=aiohttp.ClientTimeout(total=None),
    ) as session:
        tasks = [asyncio.create_task(viewer.look(session)) for viewer in looking]
        await until(lambda: all(viewer.is_open for viewer in looking), 120)
        await asyncio.sleep(2)
        kb = (probe.web_kb() - before[0]) / VIEWERS
        cpu = probe.web_cpu()
        await asyncio.sleep(IDLE_SECS)
        cpu = (probe.web_cpu() - cpu) / IDLE_SECS
        held = {
            "beats": min(viewer.beats for viewer in looking),
            "web threads more": probe.web_threads() - before[1],
            "database connections more": probe.database_connections() - before[2],
            "web CPU": cpu,
        }
        late = await show(client, looking)
        subscribers = probe.subscribers()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return [
        Row(f"{VIEWERS} idle viewers, each", kb, "KB", 40, False, held),
        Row("  their connections to Redis", subscribers, "", 1),
        Row(f"  {SHOWN} of them see a run, after", late, "s", 10),
    ]


async def show(client: Client, looking: list[Viewer]) -> float:
    """Return the seconds until all viewers of threads with a run have received it."""
    shown = looking[:: len(looking) // SHOWN]
    begun = time.perf_counter()
    await asyncio.gather(*(client.start(viewer.thread_id) for viewer in shown))
    await until(lambda: all(viewer.runs_done for viewer in shown), 60)
    return time.perf_counter() - begun


async def threads(client: Client, number: int) -> list[str]:
    found: list[str] = []
    while len(found) < number:
        found += await asyncio.gather(*(client.new_thread() for _ in range(50)))
    return found[:number]


async def until(condition: Any, seconds: float) -> None:
    await asyncio.to_thread(wait_until, condition, seconds)


# --- Streams ------------------------------------------------------------------------
async def streams(server: Server, client: Client) -> list[Row]:
    meter = Meter(server)
    many = await threads(client, STREAMS)
    cpu, begun = meter.cpu_secs(), time.perf_counter()
    answers = await asyncio.gather(
        *(client.stream(one, TOKENS, "tokens", "messages-tuple") for one in many),
        return_exceptions=True,
    )
    took = time.perf_counter() - begun
    streamed = [one for one in answers if not isinstance(one, BaseException)]
    whole = [one for one in streamed if one.events >= int(TOKENS)]
    details = {
        "seconds": took,
        "runs/s": len(whole) / took,
        "CPU ms each": 1000 * (meter.cpu_secs() - cpu) / STREAMS,
        "first event p50 s": statistics.median(one.first_secs for one in streamed),
    }
    lost = STREAMS - len(whole)
    return [Row(f"{STREAMS} streams at once: failed", lost, "", 0, False, details)]


# --- A queue --------------------------------------------------------------------------
DONE = "SELECT count(*) FROM runs WHERE status = 'success'"


async def queue(server: Server, client: Client, number: int) -> list[Row]:
    """Measure a worker that starts when there are many pending runs."""
    probe = Probe(server)
    body = {"assistant_id": "echo", "input": INPUT, "on_completion": "keep"}
    begun = time.perf_counter()
    for _ in range(number // BATCH):
        await client.call("POST", "/runs/batch", [body] * BATCH)
    queueing = time.perf_counter() - begun
    worker = Worker(server, "bench")
    try:
        samples = await drain(probe, worker, number)
    finally:
        worker.kill()
    half = next(index for index, one in enumerate(samples) if one[0] >= number / 2)
    first, last = _each(samples[: half + 1]), _each(samples[half:])
    details = {
        "CPU ms each, first half": first[0],
        "last half": last[0],
        "runs/s, first half": first[1],
        "last half ": last[1],
        "queued/s": number / queueing,
    }
    name = f"{number} runs that wait: CPU of the first half"
    return [Row(name, first[0] / last[0], "times", 1.25, False, details)]


async def drain(
    probe: Probe, worker: Worker, number: int
) -> list[tuple[int, float, float]]:
    """Samples of runs done, CPU seconds and time, from the first run to the last."""
    samples: list[tuple[int, float, float]] = []
    done = 0
    while done < number:
        await asyncio.sleep(0.5)
        [(done,)] = probe.ask(DONE)
        if done:
            cpu = probe.meter.cpu_secs() + sum(worker.cpu_times())
            samples.append((done, cpu, time.perf_counter()))
    return samples


def _each(samples: list[tuple[int, float, float]]) -> tuple[float, float]:
    """CPU milliseconds for each run, and runs per second."""
    (runs, cpu, at), (more_runs, more_cpu, later) = samples[0], samples[-1]
    done = more_runs - runs
    return 1000 * (more_cpu - cpu) / done, done / (later - at)


# --- All of it --------------------------------------------------------------------------
async def watched(server: Server) -> list[Row]:
    async with Client(server.url) as client:
        await client.stream(await client.new_thread())
        return [*await viewers(server, client), *await streams(server, client)]


async def queued(server: Server, number: int) -> list[Row]:
    async with Client(server.url) as client:
        return await queue(server, client, number)


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m bench.runs_scale", description=__doc__
    )
    parser.add_argument("--queued", type=int, default=QUEUED, help="runs that wait")
    parser.add_argument("--no-write", action="store_true", help="print only")
    arguments = parser.parse_args()
    rows: list[Row] = []
    for workers, measure in (
        (1, watched),
        (0, lambda server: queued(server, arguments.queued)),
    ):
        server = Server(CONFIG, workers=workers)
        server.start()
        try:
            rows += asyncio.run(measure(server))
        finally:
            server.stop()
    return report.finish(HEADING, ABOUT, rows, write=not arguments.no_write)


if __name__ == "__main__":
    sys.exit(main())
