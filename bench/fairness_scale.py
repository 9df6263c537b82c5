"""`python -m bench.fairness_scale`: how soon runs start while one owner floods the queue.

It starts its own server, with one web process and one worker.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
from pathlib import Path
from typing import Any

import psycopg

from spool.bench import report
from spool.bench.client import INPUT, Client
from spool.bench.measure import Row
from spool.tests.live import serving

CONFIG = Path(__file__).parent / "langgraph.json"
HEADING = "Fairness"
ABOUT = """\
`python -m bench.fairness_scale`. Runs of one owner wait, and keep the worker busy with all
of its ten slots. Then runs of 999 other owners arrive one by one, at half the rate at
which the worker executes runs; from the creation of each to its start."""
FLOOD = 20_000
OWNERS = 999
# How long the throughput is measured, and then how long runs of other owners arrive.
SECONDS = 10

BODY = {"assistant_id": "echo", "input": INPUT, "on_completion": "keep"}
# Copies of a delayed run, each on its own thread.
COPY = """
WITH made AS (
    INSERT INTO threads (id, status, resting_status, metadata, config, ttl_strategy)
    SELECT gen_random_uuid(), 'busy', 'idle', '{}', '{}', 'delete'
    FROM generate_series(1, %(runs)s)
    RETURNING id
), copied AS (
    INSERT INTO runs (id, thread_id, assistant_id, graph_id, status, metadata, kwargs,
        given, multitask_strategy, is_temporary, owner, "user", run_class,
        fairness_group, queue_rank, attempt, losses, dispatched_at)
    SELECT gen_random_uuid(), made.id, assistant_id, graph_id, status, metadata, kwargs,
        given, multitask_strategy, is_temporary, owner, "user", run_class,
        fairness_group, queue_rank, 0, 0, now() - interval '1 minute'
    FROM runs, made WHERE runs.id = %(run_id)s
)
INSERT INTO run_queue (graph_id, fairness_group)
SELECT graph_id, fairness_group FROM runs WHERE id = %(run_id)s
"""
DONE = "SELECT count(*) FROM runs WHERE status = 'success'"
# Milliseconds from creation to start.
STARTS = """
SELECT 1000 * extract(epoch FROM started_at - created_at)::float8 FROM runs
WHERE fairness_group LIKE 'late%%' ORDER BY 1
"""
WAITING = "SELECT count(*) FROM runs WHERE status = 'pending'"


def _body(owner: str, **more: Any) -> dict[str, Any]:
    return {**BODY, "metadata": {"user": owner}, **more}


class Flood:
    def __init__(self, database: psycopg.Connection, client: Client) -> None:
        self._database = database
        self._client = client

    async def rise(self, runs: int) -> None:
        """Let the queue rise: add many runs of one owner at once."""
        body = _body("crowd", after_seconds=3600)
        template = await self._client.call("POST", "/runs", body)
        self.ask(COPY, run_id=template["run_id"], runs=runs)

    async def throughput(self) -> float:
        """Runs per second, once all slots are taken."""
        await self._client.call("POST", "/runs", _body("crowd"))
        await asyncio.sleep(5)
        before = self.number(DONE)
        await asyncio.sleep(SECONDS)
        return (self.number(DONE) - before) / SECONDS

    async def others(self, a_second: float) -> list[float]:
        """How long each run of other owners waited, in milliseconds."""
        created = []
        for number in range(int(a_second * SECONDS)):
            body = _body(f"late{number % OWNERS}")
            created.append(
                asyncio.create_task(self._client.call("POST", "/runs", body))
            )
            await asyncio.sleep(1 / a_second)
        await asyncio.gather(*created)
        while any(ms is None for (ms,) in self.ask(STARTS)):
            await asyncio.sleep(0.1)
        return [ms for (ms,) in self.ask(STARTS)]

    def number(self, query: str) -> int:
        [(number,)] = self.ask(query)
        return int(number)

    def ask(self, query: str, **params: Any) -> list[tuple[Any, ...]]:
        found = self._database.execute(query.encode(), params)
        return found.fetchall() if found.description else []


async def measure(url: str, database: psycopg.Connection, runs: int) -> list[Row]:
    async with Client(url) as client:
        await client.wait(await client.new_thread())
        flood = Flood(database, client)
        await flood.rise(runs)
        a_second = await flood.throughput()
        waited = await flood.others(a_second / 2)
        left = flood.number(WAITING)
    hundredths = statistics.quantiles(waited, n=100)
    details = {
        "p50 ms": statistics.median(waited),
        "p99 ms": hundredths[98],
        "max ms": max(waited),
        "runs/s": a_second,
        "runs of others": len(waited),
        "still waiting": left,
    }
    name = f"another owner's run behind {runs:,}: start"
    return [Row(name, hundredths[94], "ms p95", 250, False, details)]


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m bench.fairness_scale", description=__doc__
    )
    parser.add_argument("--flood", type=int, default=FLOOD, help="runs of one owner")
    parser.add_argument("--no-write", action="store_true", help="print only")
    arguments = parser.parse_args()
    with serving(CONFIG, 1, SPOOL_FAIRNESS_KEY="metadata.user") as server:
        url = server.environment()["DATABASE_URL"]
        with psycopg.connect(url, autocommit=True) as database:
            rows = asyncio.run(measure(server.url, database, arguments.flood))
    return report.finish(HEADING, ABOUT, rows, write=not arguments.no_write)


if __name__ == "__main__":
    sys.exit(main())
