"""`make bench`: what an operation costs, measured on a server of its own."""

from __future__ import annotations

import argparse
import asyncio
import sys
from functools import partial
from pathlib import Path

from spool.bench import counts, event_streaming, report
from spool.bench.client import Client
from spool.bench.floor import Floor
from spool.bench.measure import STREAMS, Benchmark, Row, count_rows
from spool.tests.live import Server

CONFIG = Path(__file__).parent / "langgraph.json"
HEADING = "What an operation costs"
ABOUT = """\
`make bench`. CPU is that of all processes together (supervisor, web, worker, beat,
Postgres, Valkey) for one operation; the floor is what the graph costs under LangGraph
alone, in memory, measured just before and after each row."""
COUNTS_HEADING = "What a streamed run counts"
ABOUT_COUNTS = f"""\
`make bench`. One streamed run on a new thread, both requests, {STREAMS} at once: the same
on every machine. WAL is without full pages."""
HISTORY_HEADING = "By commit"
ABOUT_HISTORY = """\
CPU in multiples of the floor, and the counts of a streamed run. A count must not grow at
all, a multiple by no more than three turns of one version differ."""


async def measure(server: Server, seconds: float, runs: int) -> list[Row]:
    with Floor() as floor:
        async with Client(server.url) as client:
            benchmark = Benchmark(server, client, floor, seconds=seconds, runs=runs)
            rows = await benchmark.rows()
            for one in (event_streaming.run_row, event_streaming.token_row):
                measured = partial(one, benchmark)
                rows += await benchmark.beside_floor(measured)
            return rows


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
    counted = count_rows(
        asyncio.run(counts.of_streamed_runs(arguments.runs, at_once=STREAMS))
    )
    write = not arguments.no_write
    status = report.finish(HEADING, ABOUT, rows, write=write)
    status |= report.finish(COUNTS_HEADING, ABOUT_COUNTS, counted, write=write)
    if write:
        # Leave out waiting times, which depend more on the machine's load.
        kept = [row for row in rows if row.unit == "ms CPU"] + counted
        report.add_to_history(HISTORY_HEADING, ABOUT_HISTORY, kept)
    return status


if __name__ == "__main__":
    sys.exit(main())
