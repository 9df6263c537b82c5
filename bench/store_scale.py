"""`python -m bench.store_scale`: a store with a million items and 100,000 vectors."""

from __future__ import annotations

import argparse
import sys

from spool.bench import beside, report
from spool.bench.__main__ import CONFIG
from spool.bench.measure import Row
from spool.tests.live import Server

HEADING = "A million store items"
ABOUT = """\\
`python -m bench.store_scale`. Operations one after another: their statements, and all
that Spool does around them; a few over HTTP as well. Then the same with all items in one
owner, and a semantic search among vectors that lie in clusters, as those of texts do."""


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m bench.store_scale", description=__doc__
    )
    parser.add_argument("--items", type=int, default=1_000_000)
    parser.add_argument("--owners", type=int, default=1_000)
    parser.add_argument("--vectors", type=int, default=100_000)
    parser.add_argument("--no-write", action="store_true", help="print only")
    given = parser.parse_args()
    server = Server(CONFIG)
    server.start()
    try:
        measure = beside.load(server, "spool.bench.store_measure").measure
        rows: list[Row] = measure(server.url, given.items, given.owners, given.vectors)
    finally:
        server.stop()
    return report.finish(HEADING, ABOUT, rows, write=not given.no_write)


if __name__ == "__main__":
    sys.exit(main())
