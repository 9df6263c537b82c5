"""`make bench`: what an operation costs, measured on a server of its own."""

from __future__ import annotations

import argparse
import asyncio
import sys
from pathlib import Path

from spool.bench import report
from spool.bench.client import Client
from spool.bench.measure import Benchmark, Row
from spool.tests.live import Server

CONFIG = Path(__file__).parent / "langgraph.json"
HEADING = "What an operation costs"
ABOUT = """\
`make bench`. CPU is that of all processes together (supervisor, web, worker, beat,
Postgres, Valkey) for one operation."""


async def measure(server: Server, seconds: float, runs: int) -> list[Row]:
    async with Client(server.url) as client:
        return await Benchmark(server, client, seconds=seconds, runs=runs).rows()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--seconds", type=float, default=4, help="for each request")
    parser.add_argument("--runs", type=int, default=200, help="of each kind")
    parser.add_argument("--no-write", action="store_true", help="print only")
    arguments = parser.parse_args()
    server = Server(CONFIG)
    server.start()
    try:
        rows = asyncio.run(measure(server, arguments.seconds, arguments.runs))
    finally:
        server.stop()
    return report.finish(HEADING, ABOUT, rows, write=not arguments.no_write)


if __name__ == "__main__":
    sys.exit(main())
