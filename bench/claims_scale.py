"""`python -m bench.claims_scale`: what a claim costs where many runs wait.

It starts two servers without workers, and claims runs in this process: in turns from a
long queue, and from a queue of ten runs.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg

from spool.bench import beside, report
from spool.bench.measure import Row
from spool.tests.live import Server, serving

CONFIG = Path(__file__).parent / "langgraph.json"
HEADING = "Claims from a long queue"
ABOUT = """\
`python -m bench.claims_scale`. The median of single claims, as Postgres measures them, and
the pages that it reads. Each is followed by one of a queue with ten runs, of one owner or
of ten, and the medians of both are compared. After each claim a run ends and another one is added."""
FEW = 10
SOME = 10_000
OWNERS = 10_000
PAUSED = 5_000
AT_LIMIT = 50
TURNS = 300
WARM_UP = 20

# Disable triggers: those of foreign keys would take most of the time.
SESSION = """
SET session_replication_role = replica; SET synchronous_commit = off;
SET maintenance_work_mem = '256MB'
"""
CLEAR = "TRUNCATE runs, threads, run_queue, run_pauses CASCADE"
THREADS = """
INSERT INTO threads (id, status, resting_status, metadata, config, ttl_strategy)
SELECT lpad(to_hex(number), 32, '0')::uuid, 'busy', 'idle', '{}', '{}', 'delete'
FROM generate_series(%(first)s::int, %(last)s::int) AS number
"""
RUNS = """
INSERT INTO runs (id, thread_id, assistant_id, graph_id, status, metadata, kwargs,
    multitask_strategy, is_temporary, owner, fairness_group, attempt, losses,
    created_at, dispatched_at)
SELECT lpad(to_hex(number), 32, '0')::uuid, lpad(to_hex(number), 32, '0')::uuid,
    %(assistant_id)s, CASE WHEN number %% 2 = 0 THEN %(second_graph)s ELSE 'echo' END,
    'pending', '{}', '{}', 'enqueue', false,
    owner, owner, 0, 0, clock_timestamp(), clock_timestamp()
FROM generate_series(%(first)s::int, %(last)s::int) AS number, LATERAL (
    SELECT 'o' || %(full)s + number %% (%(owners)s - %(full)s) AS owner
) AS named
"""
QUEUE = """
INSERT INTO run_queue (graph_id, fairness_group)
SELECT DISTINCT graph_id, fairness_group FROM runs
WHERE id >= lpad(to_hex(%(first)s::int), 32, '0')::uuid
ON CONFLICT DO NOTHING
"""
INDEXES = """
SELECT indexrelid::regclass::text, pg_get_indexdef(indexrelid) FROM pg_index
WHERE indrelid = ANY (ARRAY['runs', 'threads']::regclass[])
    AND NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = indexrelid)
"""
WORKER = """
INSERT INTO workers (id, hostname, pid, capacity) VALUES (%(worker_id)s, 'bench', 0, 10)
"""
EXPLAIN = "EXPLAIN (ANALYZE, BUFFERS, TIMING off, FORMAT JSON) "
END = "UPDATE runs SET status = 'success' WHERE worker_id = %(worker_id)s"
END_NEW = END + " AND status = 'running'"
CLAIM_MANY = """
DO $$ BEGIN FOR number IN 1..%d LOOP
    PERFORM spool_claim_1(NULL, '%s', NULL, 0, 0, '{}');
    UPDATE runs SET status = 'success' WHERE worker_id = '%s' AND status = 'running';
    COMMIT;
END LOOP; END $$
"""
PAUSE_OWNERS = """
INSERT INTO run_pauses (kind, name)
SELECT 'owner', 'o' || number FROM generate_series(0, %(paused)s - 1) AS number
"""
PAUSE_GRAPH = "INSERT INTO run_pauses (kind, name) VALUES ('graph', 'other')"
# Each of these owners has a running run, and runs that wait in front of all others.
FULL = """
WITH busy AS (
    SELECT DISTINCT ON (fairness_group) id FROM runs
    WHERE fairness_group = ANY (
        SELECT 'o' || number FROM generate_series(0, %(owners)s - 1) AS number)
    ORDER BY fairness_group, created_at
), front AS (
    UPDATE run_queue SET since = '2000-01-01' WHERE fairness_group = ANY (
        SELECT 'o' || number FROM generate_series(0, %(owners)s - 1) AS number)
)
UPDATE runs SET status = 'running', worker_id = gen_random_uuid()
WHERE id IN (SELECT id FROM busy)
"""


@dataclass(frozen=True)
class Cost:
    ms: float
    pages: int


class Queue:
    def __init__(self, server: Server) -> None:
        url = server.environment()["DATABASE_URL"]
        self._connection = psycopg.connect(url, autocommit=True)
        self._claim = beside.load(server, "spool.runs.lifecycle.claiming").CLAIM
        self._worker_id = uuid4()
        self._last = 0
        self._owners = 1
        # How many owners, the first ones, have as many running runs as they may.
        self._full = 0
        self.do(SESSION)
        self.do(WORKER)

    def do(self, statement: str, **params: Any) -> None:
        if params or "%(" in statement:
            params["worker_id"] = self._worker_id
            self._connection.execute(statement.encode(), params)
        else:
            self._connection.execute(statement.encode())

    def fill(self, runs: int, owners: int, second_graph: str = "echo") -> None:
        """Insert rows before creating indexes, which takes a tenth of the time."""
        self.do(CLEAR)
        self._last, self._owners, self._full = 0, owners, 0
        indexes = self._connection.execute(INDEXES).fetchall()
        for name, _ in indexes:
            self.do(f"DROP INDEX {name}")
        self.add(runs, second_graph)
        for _, definition in indexes:
            self.do(definition)
        for table in ("runs", "threads", "run_queue"):
            self.do(f"VACUUM ANALYZE {table}")

    def add(self, runs: int = 1, second_graph: str = "echo") -> None:
        numbers = {"first": self._last + 1, "last": self._last + runs}
        self._last += runs
        self.do(THREADS, **numbers)
        owners = {"owners": self._owners, "full": self._full}
        others = {"assistant_id": uuid4(), "second_graph": second_graph}
        self.do(RUNS, **numbers, **owners, **others)
        self.do(QUEUE, first=numbers["first"])

    def fill_up(self, owners: int) -> None:
        """Give these owners as many running runs as they may have, and waiting runs."""
        self._full = owners
        self.do(FULL, owners=owners)

    def claim(self) -> Cost:
        """Claim a run and end it at once, and add another one. Measures the claim."""
        params = {
            "run_id": None,
            "worker_id": self._worker_id,
            "hint": None,
            "max_per_group": 1 if self._full else 0,
            "max_per_graph": 0,
            "revisions": "{}",
        }
        explained = self._connection.execute((EXPLAIN + self._claim).encode(), params)
        [[plan]] = (row[0] for row in explained.fetchall())
        found = plan["Plan"]
        if not found["Actual Rows"]:
            raise RuntimeError("there was no run to claim")
        self.do(END_NEW)
        self.add()
        pages = found["Shared Hit Blocks"] + found["Shared Read Blocks"]
        return Cost(plan["Execution Time"], pages)

    def claim_many(self, claims: int) -> None:
        """Claim runs and end them at once, in a loop in Postgres itself."""
        self.do(CLAIM_MANY % (claims, self._worker_id, self._worker_id))


def compared(name: str, many: Queue, few: Queue) -> Row:
    """Measure claims from both queues in turns."""
    for _ in range(WARM_UP):
        many.claim(), few.claim()
    costs = [(many.claim(), few.claim()) for _ in range(TURNS)]
    ms = [
        statistics.median(cost.ms for cost in one) for one in zip(*costs, strict=True)
    ]
    pages = [
        statistics.median(cost.pages for cost in one)
        for one in zip(*costs, strict=True)
    ]
    details = {
        "ms": ms[0],
        "ms with ten": ms[1],
        "pages": pages[0],
        "pages with ten": pages[1],
    }
    return Row(name, ms[0] / ms[1], "times", 1.25, False, details)


def measure(many: Queue, few: Queue, waiting: int) -> Iterator[Row]:
    # How many runs are claimed between two vacuums: each claimed run changes twice.
    claimed = waiting // 100
    few.fill(FEW, 1)
    for runs in (SOME, waiting):
        many.fill(runs, 1)
        yield compared(f"a claim, {runs:,} runs of one owner wait", many, few)
    many.claim_many(claimed)
    yield compared(f"  after {claimed:,} claims", many, few)
    few.fill(FEW, FEW)
    for runs in (SOME, waiting):
        many.fill(runs, OWNERS)
        yield compared(f"  {runs:,} runs of {OWNERS:,} owners", many, few)
    many.claim_many(claimed)
    yield compared(f"  after {claimed:,} claims", many, few)
    many.do(PAUSE_OWNERS, paused=PAUSED)
    yield compared(f"  {PAUSED:,} of the owners paused", many, few)
    many.fill(waiting, OWNERS, "other")
    many.do(PAUSE_GRAPH)
    yield compared("  half of the runs of a paused graph", many, few)
    many.fill(waiting, OWNERS)
    few.fill(3 * (AT_LIMIT + 1), AT_LIMIT + 1)
    for queue in (many, few):
        queue.fill_up(AT_LIMIT)
    yield compared(f"  {AT_LIMIT} owners at their limit in front, of both", many, few)


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m bench.claims_scale", description=__doc__
    )
    parser.add_argument("--waiting", type=int, default=1_000_000, help="runs that wait")
    parser.add_argument("--no-write", action="store_true", help="print only")
    arguments = parser.parse_args()
    with serving(CONFIG, 0) as one, serving(CONFIG, 0) as other:
        rows = list(measure(Queue(one), Queue(other), arguments.waiting))
    return report.finish(HEADING, ABOUT, rows, write=not arguments.no_write)


if __name__ == "__main__":
    sys.exit(main())
