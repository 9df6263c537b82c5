"""`python -m bench.claims_scale`: what a claim costs where many runs wait.

It starts a server of its own, without workers, and claims runs beside it.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg

from spool.bench import beside, report
from spool.bench.measure import Row
from spool.tests.live import Server

CONFIG = Path(__file__).parent / "langgraph.json"
HEADING = "Claims from a long queue"
ABOUT = """\
`python -m bench.claims_scale`. The median of single claims in Postgres, each compared
with that of ten waiting runs of one owner, measured before and after it."""
FEW = 10
OWNERS = 10_000
PAUSED = 5_000
CLAIMS = 200

SEED = """
WITH made AS (
    INSERT INTO threads (id, status, resting_status, metadata, config, ttl_strategy)
    SELECT gen_random_uuid(), 'busy', 'idle', '{}', '{}', 'delete'
    FROM generate_series(1, %(runs)s)
    RETURNING id
), numbered AS (
    SELECT id, row_number() OVER () AS number FROM made
)
INSERT INTO runs (id, thread_id, assistant_id, graph_id, status, metadata, kwargs,
    multitask_strategy, is_temporary, owner, fairness_group, attempt, losses,
    dispatched_at)
SELECT gen_random_uuid(), id, %(assistant_id)s,
    CASE WHEN number %% 2 = 0 THEN %(second_graph)s ELSE 'echo' END, 'pending', '{}',
    '{}', 'enqueue', false, 'o' || number %% %(owners)s, 'o' || number %% %(owners)s,
    0, 0, clock_timestamp()
FROM numbered
"""
QUEUE = """
INSERT INTO run_queue (graph_id, fairness_group)
SELECT DISTINCT graph_id, fairness_group FROM runs
"""
WORKER = """
INSERT INTO workers (id, hostname, pid, capacity) VALUES (%(id)s, 'bench', 0, 10)
"""
PAUSE_OWNERS = """
INSERT INTO run_pauses (kind, name)
SELECT 'owner', 'o' || number FROM generate_series(0, %(paused)s - 1) AS number
"""
PAUSE_GRAPH = "INSERT INTO run_pauses (kind, name) VALUES ('graph', 'other')"
CLEAR = "TRUNCATE runs, threads, run_queue, run_pauses CASCADE"


class Queue:
    def __init__(self, server: Server) -> None:
        url = server.environment()["DATABASE_URL"]
        self._connection = psycopg.connect(url, autocommit=True)
        self._claim = beside.load(server, "spool.runs.lifecycle.claiming").CLAIM
        self._worker = {"id": uuid4()}
        self.do(WORKER, **self._worker)

    def do(self, statement: str, **params: Any) -> None:
        self._connection.execute(statement.encode(), params)

    def fill(self, runs: int, owners: int, second_graph: str = "echo") -> None:
        self.do(CLEAR)
        given = {"runs": runs, "owners": owners, "second_graph": second_graph}
        self.do(SEED, assistant_id=uuid4(), **given)
        self.do(QUEUE)
        for table in ("runs", "threads", "run_queue"):
            self.do(f"VACUUM ANALYZE {table}")

    def claim(self) -> float:
        """Milliseconds of a claim; its run ends at once."""
        params = {
            "run_id": None,
            "worker_id": self._worker["id"],
            "hint": None,
            "max_per_group": 0,
            "max_per_graph": 0,
            "revisions": "{}",
        }
        begun = time.perf_counter()
        found = self._connection.execute(self._claim.encode(), params).fetchone()
        taken = 1000 * (time.perf_counter() - begun)
        if found is None:
            raise RuntimeError("there was no run to claim")
        self.do("UPDATE runs SET status = 'success' WHERE id = %(id)s", id=found[0])
        return taken

    def claims(self) -> float:
        for _ in range(20):
            self.claim()
        return statistics.median(self.claim() for _ in range(CLAIMS))

    def few(self) -> float:
        """The same with ten waiting runs."""
        taken = []
        for _ in range(CLAIMS // FEW):
            self.fill(FEW, 1)
            taken += [self.claim() for _ in range(FEW - 2)]
        return statistics.median(taken)


def measure(server: Server, waiting: int) -> list[Row]:
    queue = Queue(server)
    rows = []

    def row(name: str, before: float) -> None:
        many = queue.claims()
        after = queue.few()
        few = (before + after) / 2
        details = {"ms": many, "ms with ten": few}
        rows.append(Row(name, many / few, "times", 1.25, False, details))

    before = queue.few()
    queue.fill(waiting, 1)
    row(f"a claim, {waiting:,} runs of one owner wait", before)
    before = queue.few()
    queue.fill(waiting, OWNERS)
    row(f"  of {OWNERS:,} owners", before)
    before = queue.few()
    queue.fill(waiting, OWNERS)
    queue.do(PAUSE_OWNERS, paused=PAUSED)
    row(f"  {PAUSED:,} of the owners paused", before)
    before = queue.few()
    queue.fill(waiting, OWNERS, "other")
    queue.do(PAUSE_GRAPH)
    row("  half of the runs of a paused graph", before)
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m bench.claims_scale", description=__doc__
    )
    parser.add_argument("--waiting", type=int, default=1_000_000, help="runs that wait")
    parser.add_argument("--no-write", action="store_true", help="print only")
    arguments = parser.parse_args()
    server = Server(CONFIG, workers=0)
    server.start()
    try:
        rows = measure(server, arguments.waiting)
    finally:
        server.stop()
    return report.finish(HEADING, ABOUT, rows, write=not arguments.no_write)


if __name__ == "__main__":
    sys.exit(main())
