"""`python -m bench.crons_scale`: the lateness of crons, and a tick's cost with many.

It starts a server of its own, as `make serve` does.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg

from spool.bench import beside, report
from spool.bench.client import INPUT, Client
from spool.bench.measure import Row
from spool.tests.live import Server, wait_until

CONFIG = Path(__file__).parent / "langgraph.json"
HEADING = "Many crons"
ABOUT = """\
`python -m bench.crons_scale`. Lateness is from the slot to the firing, and to the start
of the run that it made."""
BURST = 1000
STEADY = 60
STEADY_SECS = 30
TICKS = 200

# Copies of the existing cron, none of which is due, and some of their firings.
MANY_CRONS = """
INSERT INTO crons (
    id, assistant_id, schedule, payload, metadata, on_run_completed, enabled,
    disabled_reason, next_run_date, missed, creator
)
SELECT gen_random_uuid(), assistant_id, schedule, payload,
    jsonb_build_object('owner', 'owner-' || number %% 1000), on_run_completed, true,
    '', now() + interval '1 day' + number * interval '1 second', 0, creator
FROM crons, generate_series(1, %(number)s) AS number
WHERE crons.id = %(id)s
"""
HISTORY = """
INSERT INTO cron_firings (id, cron_id, slot, fired_at, missed, run_id, status, error)
SELECT gen_random_uuid(), id, now(), now(), 0, gen_random_uuid(), 'success', ''
FROM (SELECT id FROM crons LIMIT 100000) AS crons
"""
LATENESS = """
SELECT extract(epoch FROM firing.fired_at - firing.slot),
    extract(epoch FROM run.started_at - firing.slot)
FROM cron_firings AS firing LEFT JOIN runs AS run ON run.id = firing.run_id
"""


class Database:
    def __init__(self, url: str) -> None:
        self._connection = psycopg.connect(url, autocommit=True)

    def ask(self, statement: str, **params: Any) -> list[tuple[Any, ...]]:
        # Don't prepare the statement: it is different each time.
        return self._connection.execute(statement, params, prepare=False).fetchall()

    def do(self, statement: str, **params: Any) -> None:
        self._connection.execute(statement, params)


async def create(client: Client, schedule: str) -> str:
    body = {
        "assistant_id": "echo",
        "schedule": schedule,
        "input": INPUT,
        "on_run_completed": "keep",
    }
    cron_id: str = (await client.call("POST", "/runs/crons", body))["cron_id"]
    return cron_id


def lateness(database: Database, wanted: int, seconds: float) -> tuple[Any, Any]:
    """The lateness in seconds of firings, and of the starts of their runs.

    Waits until `wanted` runs have started, for at most `seconds`.
    """

    def found() -> list[tuple[Any, ...]]:
        rows = database.ask(LATENESS)
        started = [row for row in rows if row[1] is not None]
        return rows if len(started) >= wanted else []

    wait_until(found, seconds)
    fired, started = zip(*database.ask(LATENESS), strict=True)
    return [float(each) for each in fired], [float(each or seconds) for each in started]


async def burst(client: Client, database: Database) -> list[Row]:
    """Measure crons that are all due in the same second."""
    slot = datetime.now(UTC) + timedelta(seconds=30)
    schedule = f"{slot.second} {slot.minute} {slot.hour} * * *"
    for _ in range(BURST // 20):
        await asyncio.gather(*[create(client, schedule) for _ in range(20)])
    if datetime.now(UTC) > slot:
        raise RuntimeError("the crons were not made in time")
    fired, started = await asyncio.to_thread(lateness, database, BURST, 120)
    clear(database)
    return [
        Row("1,000 crons in one second: fired", max(fired), "s", 5, False, p(fired)),
        Row("  and their runs started", max(started), "s", 30, False, p(started)),
    ]


async def steady(client: Client, database: Database) -> Row:
    """Measure six firings a second, by crons that fire every ten seconds."""
    for number in range(STEADY):
        await create(client, f"{number % 10}/10 * * * * *")
    await asyncio.sleep(STEADY_SECS)
    database.do("UPDATE crons SET enabled = false")
    wanted = len(database.ask("SELECT FROM cron_firings"))
    _, started = await asyncio.to_thread(lateness, database, wanted, 30)
    clear(database)
    found = p(started)
    return Row(
        "6 crons a second: start of the run", found["p99"], "s p99", 2, False, found
    )


def clear(database: Database) -> None:
    for table in ("cron_firings", "crons", "runs", "threads"):
        database.do(f"DELETE FROM {table}")  # noqa: S608


async def search(client: Client) -> Row:
    taken = []
    for _ in range(50):
        begun = time.perf_counter()
        await client.call("POST", "/runs/crons/search", {"limit": 10})
        taken.append(time.perf_counter() - begun)
    median = 1000 * statistics.median(taken)
    return Row("search of the newest 10 of them", median, "ms p50", 10)


def many(
    database: Database, cron_id: str, number: int, tick: Callable[[], None]
) -> Row:
    """Measure a tick with many crons, none of which is due."""
    database.do(MANY_CRONS, id=cron_id, number=number)
    database.do(HISTORY)
    database.do("ANALYZE crons")
    database.do("ANALYZE cron_firings")
    taken = []
    for _ in range(TICKS):
        begun = time.perf_counter()
        tick()
        taken.append(1000 * (time.perf_counter() - begun))
        time.sleep(0.02)
    found = p(taken)
    return Row(
        f"tick, {number:,} crons, none due", found["p50"], "ms p50", 10, False, found
    )


def p(values: list[float]) -> dict[str, float]:
    cuts = statistics.quantiles(values, n=100)
    return {"p50": cuts[49], "p99": cuts[98], "max": max(values)}


def tick_of(server: Server) -> Callable[[], None]:
    """The function of the tick, to be called in this process."""
    tick: Callable[[], None] = beside.load(server, "spool.crons.tasks").tick
    return tick


async def measure(server: Server, number: int) -> list[Row]:
    database = Database(server.environment()["DATABASE_URL"])
    async with Client(server.url) as client:
        rows = [await steady(client, database), *await burst(client, database)]
        cron_id = await create(client, "@yearly")
        rows.append(
            await asyncio.to_thread(many, database, cron_id, number, tick_of(server))
        )
        return [*rows, await search(client)]


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m bench.crons_scale", description=__doc__
    )
    parser.add_argument("--crons", type=int, default=1_000_000, help="none of them due")
    parser.add_argument("--no-write", action="store_true", help="print only")
    arguments = parser.parse_args()
    server = Server(CONFIG)
    server.start()
    try:
        rows = asyncio.run(measure(server, arguments.crons))
    finally:
        server.stop()
    return report.finish(HEADING, ABOUT, rows, write=not arguments.no_write)


if __name__ == "__main__":
    sys.exit(main())
