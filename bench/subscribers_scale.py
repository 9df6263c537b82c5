"""`python -m bench.subscribers_scale`: many idle subscribers of event streaming.

It starts a new server with one web process for each transport.
"""

from __future__ import annotations

import argparse
import asyncio
import resource
import sys

import aiohttp

from spool.bench import report
from spool.bench.client import Client
from spool.bench.event_streaming import subscribed
from spool.bench.measure import Row
from spool.bench.runs_scale import CONFIG, IDLE_SECS, Probe, threads, until
from spool.tests.live import Server

HEADING = "Many idle subscribers of event streaming"
ABOUT = """\
`python -m bench.subscribers_scale`. One web process for each transport; each subscriber
has a thread of its own, and is subscribed to its values and lifecycle. WebSockets offer
compression, as browsers do."""
SUBSCRIBERS = 10_000
# How many of the subscribers' threads get a run while all of them are connected.
SHOWN = 100
OPENED_AT_ONCE = 50


class Subscriber:
    def __init__(self, thread_id: str) -> None:
        self.thread_id = thread_id
        self.is_open = False
        self.ends = 0

    async def listen(
        self,
        session: aiohttp.ClientSession,
        transport: str,
        opening: asyncio.Semaphore,
    ) -> None:
        events = subscribed(session, self.thread_id, transport)
        async with opening:
            await anext(events)
        self.is_open = True
        async for text in events:
            self.ends += b'"completed"' in text


async def warm_up(server: Server, transport: str, thread_id: str) -> None:
    """Connect one subscriber, so that the server imports what the transport needs."""
    async with aiohttp.ClientSession(server.url) as session:
        events = subscribed(session, thread_id, transport)
        await anext(events)
        await events.aclose()


async def idle(server: Server, transport: str, number: int) -> list[Row]:
    async with Client(server.url) as client:
        await client.stream(await client.new_thread())
        await warm_up(server, transport, await client.new_thread())
        subscribers = [Subscriber(one) for one in await threads(client, number)]
        probe = Probe(server)
        before = probe.web_kb(), probe.web_threads(), probe.database_connections()
        async with aiohttp.ClientSession(
            server.url,
            connector=aiohttp.TCPConnector(limit=0),
            timeout=aiohttp.ClientTimeout(total=None),
        ) as session:
            opening = asyncio.Semaphore(OPENED_AT_ONCE)
            tasks = [
                asyncio.create_task(one.listen(session, transport, opening))
                for one in subscribers
            ]
            await until(lambda: all(one.is_open for one in subscribers), 600)
            await asyncio.sleep(2)
            kb = (probe.web_kb() - before[0]) / number
            cpu = probe.web_cpu()
            await asyncio.sleep(IDLE_SECS)
            details = {
                "web threads more": probe.web_threads() - before[1],
                "database connections more": probe.database_connections() - before[2],
                "web CPU": (probe.web_cpu() - cpu) / IDLE_SECS,
            }
            shown = subscribers[:: max(number // SHOWN, 1)]
            await asyncio.gather(*(client.start(one.thread_id) for one in shown))
            await until(lambda: all(one.ends for one in shown), 60)
            connections = probe.subscribers()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
    name = f"{number} idle subscribers ({transport}), each"
    return [
        Row(name, kb, "KB", 40, False, details),
        Row("  their connections to Redis", connections, "", 1),
    ]


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m bench.subscribers_scale", description=__doc__
    )
    parser.add_argument("--number", type=int, default=SUBSCRIBERS, help="of each kind")
    parser.add_argument("--no-write", action="store_true", help="print only")
    arguments = parser.parse_args()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    rows: list[Row] = []
    for transport in ("sse", "websocket"):
        server = Server(CONFIG, WEB_MAX_VIEWERS=str(arguments.number + 1000))
        server.start()
        try:
            rows += asyncio.run(idle(server, transport, arguments.number))
        finally:
            server.stop()
    return report.finish(HEADING, ABOUT, rows, write=not arguments.no_write)


if __name__ == "__main__":
    sys.exit(main())
