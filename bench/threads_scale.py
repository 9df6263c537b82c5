"""`python -m bench.threads_scale`: searches among a million threads of 1,000 owners.

It starts its own server, as `make serve` does, and searches as one owner, or with
`--open` without access control, so that every caller sees all threads.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import aiohttp
import psycopg

from spool.bench import report
from spool.bench.measure import Row
from spool.tests.live import ROOT, Server

CONFIG = Path(__file__).parent / "langgraph.json"
HEADING = "A million threads of 1,000 owners"
ABOUT = """\
`python -m bench.threads_scale`, once with an owner's key and once with `--open`, where
the million threads are of all owners. Requests one after another, over HTTP; of the ten
sorts of a search the slowest counts."""
OWNERS = 1000
BATCH = 100_000
REQUESTS = 40
BUDGET_MS = 10
SORTS = ("created_at", "updated_at", "state_updated_at", "status", "thread_id")

# Rows as on a server after a year: owners alternate, most threads are idle.
SEED = """
INSERT INTO threads (
    id, status, resting_status, metadata, config, values, interrupts, created_at,
    updated_at, state_updated_at, ttl_strategy
)
SELECT gen_random_uuid(),
    CASE WHEN n %% 500 = 0 THEN 'busy' WHEN n %% 100 = 1 THEN 'error'
        WHEN n %% 50 = 2 THEN 'interrupted' ELSE 'idle' END, 'idle',
    jsonb_build_object('owner', 'owner-' || n %% %(owners)s, 'graph_id', 'echo',
        'ticket', n / 7, 'channel', (ARRAY['web', 'mail', 'chat'])[1 + n %% 3]),
    '{}', jsonb_build_object('messages', jsonb_build_array(
        jsonb_build_object('type', 'human', 'content', repeat(md5(n::text), 4)),
        jsonb_build_object('type', 'ai', 'content', repeat(md5(n::text), 8)))),
    '{}', at, at + random() * interval '7 days', at + random() * interval '7 days',
    'delete'
FROM generate_series(%(first)s::int, %(last)s::int) AS n,
    LATERAL (SELECT now() - n * interval '30 seconds' - interval '8 days' AS at) AS made
"""


def seed(url: str, threads: int) -> float:
    begun = time.monotonic()
    with psycopg.connect(url, autocommit=True) as database:
        for first in range(1, threads + 1, BATCH):
            last = min(first + BATCH - 1, threads)
            params = {"first": first, "last": last, "owners": OWNERS}
            database.execute(SEED, params)
        database.execute("VACUUM ANALYZE threads")
    return time.monotonic() - begun


def new_key(server: Server, owner: str) -> str:
    made = subprocess.run(
        [sys.executable, "-W", "ignore", "manage.py", "create_api_key", owner],
        cwd=ROOT,
        env=server.environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    return made.stdout.strip()


class Asker:
    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    async def ms(self, path: str, body: dict[str, Any]) -> float:
        """The median duration of some requests, in milliseconds."""
        taken = []
        for _ in range(REQUESTS):
            begun = time.perf_counter()
            async with self._session.post(path, json=body) as response:
                response.raise_for_status()
                await response.read()
            taken.append(1000 * (time.perf_counter() - begun))
        return statistics.median(taken)

    async def searches(self, name: str, body: dict[str, Any]) -> Row:
        """Search for a first page by each sort, both ways; the slowest counts."""
        found: dict[str, float] = {}
        for sort_by in SORTS:
            for order in ("desc", "asc"):
                query = {**body, "sort_by": sort_by, "sort_order": order}
                found[f"{sort_by} {order}"] = await self.ms("/threads/search", query)
        slowest = max(found.values())
        return Row(f"search: {name}", slowest, "ms p50", BUDGET_MS, False, found)

    async def one(
        self, name: str, path: str, body: dict[str, Any], budget: float = BUDGET_MS
    ) -> Row:
        return Row(name, await self.ms(path, body), "ms p50", budget)


async def measure(server: Server, key: str | None, deep: int) -> list[Row]:
    headers = {"x-api-key": key} if key else {}
    # Counting or skipping a million rows one by one is slow.
    by_row = BUDGET_MS if key else 20 * BUDGET_MS
    async with aiohttp.ClientSession(server.url, headers=headers) as session:
        asker = Asker(session)
        ticket, status = {"metadata": {"ticket": 5000}}, {"status": "error"}
        channel = {"metadata": {"channel": "web"}}
        return [
            await asker.searches("everything of the caller's", {}),
            await asker.searches("metadata that few have", ticket),
            await asker.searches("metadata that a third has", channel),
            await asker.searches("a status that few have", status),
            await asker.one("count: a status", "/threads/count", status),
            await asker.one("count: metadata that few have", "/threads/count", ticket),
            await asker.one("count: all of the caller's", "/threads/count", {}, by_row),
            await asker.one(
                f"search: from {deep:,} on", "/threads/search", {"offset": deep}, by_row
            ),
        ]


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m bench.threads_scale", description=__doc__
    )
    parser.add_argument("--threads", type=int, default=1_000_000)
    parser.add_argument("--no-write", action="store_true", help="print only")
    parser.add_argument("--open", action="store_true", help="without owners' keys")
    arguments = parser.parse_args()
    server = Server(CONFIG, SPOOL_AUTH="none" if arguments.open else "api_key")
    server.start()
    try:
        url = server.environment()["DATABASE_URL"]
        print(f"seeded in {seed(url, arguments.threads):.0f} s")
        key = None if arguments.open else new_key(server, "owner-7")
        deep = arguments.threads // (10 if arguments.open else 2 * OWNERS)
        rows = asyncio.run(measure(server, key, deep))
    finally:
        server.stop()
    heading = f"{HEADING}, {'open to all' if arguments.open else 'as one owner'}"
    return report.finish(heading, ABOUT, rows, write=not arguments.no_write)


if __name__ == "__main__":
    sys.exit(main())
