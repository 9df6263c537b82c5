"""`python -m bench.console_scale`: each page of the console, with a million runs.

It starts its own server, as `make serve` does, and opens the pages in another process,
which counts their queries. With `--home`, the server's folder, and so the rows, are
kept for the next time.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import django
import psycopg
from django.apps import apps
from django.contrib.auth import get_user_model
from django.db import connection
from django.test import Client
from django.urls import reverse

from spool.bench import report, threads_scale
from spool.bench.floor import Floor
from spool.bench.measure import Row
from spool.tests.live import ROOT, Server

CONFIG = Path(__file__).parent / "langgraph.json"
HEADING = "The console with a million runs, threads and items"
ABOUT = """\
`python -m bench.console_scale`. Pages of an administrator, rendered one after another in
one process; the time is the fastest of five, and counts in multiples of the floor."""
SETTINGS = "spool.config.settings"
# The rows are older than a week, and must not be swept.
NEVER = "10000"
MAX_FLOORS = 300
MAX_QUERIES = 20
TURNS = 5

# One run on each thread, with the thread's time and owner; 1 % failed, few are active.
SEED_RUNS = """
INSERT INTO runs (
    id, thread_id, assistant_id, graph_id, status, metadata, kwargs,
    multitask_strategy, is_temporary, owner, run_class, attempt, losses, created_at,
    updated_at, started_at, ended_at, error
)
SELECT gen_random_uuid(), t.id, a.id, a.graph_id,
    CASE WHEN n %% 100 = 0 THEN 'error' WHEN n %% 1000 = 1 THEN 'interrupted'
        WHEN n %% 100000 = 2 THEN 'pending' ELSE 'success' END, '{}',
    '{"input": {"messages": []}}', 'enqueue', false, t.owner, 'background', 1,
    (n %% 10000 = 3)::int, t.created_at, t.created_at, t.created_at,
    t.created_at + interval '2 seconds',
    CASE WHEN n %% 100 = 0 THEN jsonb_build_object('error', 'RateLimitError', 'message',
        'too many requests: ' || md5(n::text)) END
FROM (SELECT *, row_number() OVER () AS n FROM threads) AS t,
    LATERAL (SELECT id, graph_id FROM assistants WHERE graph_id = 'echo') AS a
"""
SEED = {
    "runs": SEED_RUNS,
    "run_attempts": """
INSERT INTO run_attempts (
    run_id, attempt, thread_id, owner, assistant_id, graph_id, run_class, revision,
    queued_at, started_at, ended_at, outcome, error, node, traceback, steps
)
SELECT id, 1, thread_id, owner, assistant_id, graph_id, run_class, '', created_at,
    started_at, ended_at, CASE WHEN losses > 0 THEN 'lost' ELSE status END, error, '', '',
    3
FROM runs WHERE status <> 'pending'
""",
    "store_items": """
INSERT INTO store_items (owner, path, key, value)
SELECT 'owner-' || n %% 1000, 'users.u' || n %% 1000 || '.n' || n / 1000 %% 20,
    'key' || n, jsonb_build_object('text', repeat(md5(n::text) || ' ', 8))
FROM generate_series(1, %(number)s::int) AS n
""",
    "webhook_deliveries": """
INSERT INTO webhook_deliveries (
    id, run_id, thread_id, url, payload, attempts, earlier_attempts, last_error,
    created_at, next_attempt_at, delivered_at
)
SELECT gen_random_uuid(), id, thread_id, 'https://example.com/' || owner, '{}', 1, 0, '',
    created_at, NULL, CASE WHEN status <> 'error' THEN created_at END
FROM runs WHERE status <> 'pending'
""",
}
# Queries of the lists: searches and filters, with and without an index.
LISTS = {
    "runs.run": (
        "q=owner-7",
        "status__exact=pending",
        "trouble=lost",
        "q=RateLimitError",
        "q=ticket=5000",
        "graph=none",
    ),
    "runs.worker": ("state=alive",),
    "threads.thread": (
        "q=owner-7",
        "q=ticket=5000",
        "status__exact=interrupted",
        "waits=day",
    ),
    "assistants.assistant": ("q=echo",),
    "crons.cron": ("q=owner-7", "trouble=overdue"),
    "store.storeitem": ("q=owner-7 users.u7", "q=key500", "expiry=ends"),
    "webhooks.webhookdelivery": (
        "state=given+up",
        "state=delivered",
        "q=https://example.com/owner-7",
    ),
    "access.apikey": ("q=owner-7",),
}
# The time of a page of runs that is far from the first page.
MONTHS_AGO = datetime.now(UTC) - timedelta(days=180)
IN_THE_MIDDLE = urlencode({"p": json.dumps({"after": [MONTHS_AGO.isoformat()]})})


def seed(server: Server, number: int) -> None:
    """Write the rows, unless the server's home already has them."""
    seeded = server.home / "seeded"
    if seeded.exists():
        return
    begun, url = time.monotonic(), server.environment()["DATABASE_URL"]
    threads_scale.seed(url, number)
    with psycopg.connect(url, autocommit=True) as database:
        for table, statement in SEED.items():
            # The parameters are always given: without them, `%%` would stay as it is.
            database.execute(statement.encode(), {"number": number})
            database.execute(f"VACUUM ANALYZE {table}".encode())
    seeded.touch()
    print(f"seeded in {time.monotonic() - begun:.0f} s")


def paths() -> list[str]:
    """The path of each page; pages of rows are those of the newest rows."""
    found = [
        reverse("admin:index"),
        f"{reverse('admin:index')}?range=7d",
        reverse("console-owner", args=["owner-7"]),
        reverse("admin:store_storeitem_tree"),
        f"{reverse('admin:store_storeitem_tree')}?owner=owner-7",
    ]
    for label, queries in LISTS.items():
        model: Any = apps.get_model(label)
        page = f"admin:{model._meta.app_label}_{model._meta.model_name}"
        rows = reverse(f"{page}_changelist")
        found += [rows, *(f"{rows}?{query}" for query in queries)]
        found += [f"{rows}?{IN_THE_MIDDLE}"] if label == "runs.run" else []
        if row := model._default_manager.order_by("-pk").first():
            found.append(reverse(f"{page}_change", args=[row.pk]))
    return found


class Counter:
    """Counts the statements of a connection."""

    count = 0

    def __call__(self, execute: Callable[..., Any], *arguments: Any) -> Any:
        self.count += 1
        return execute(*arguments)


def open_pages() -> None:
    """Print the queries and the milliseconds of each page, as JSON."""
    django.setup()
    user: Any = get_user_model()
    client = Client(headers={"host": "localhost"})
    client.force_login(user.objects.filter(is_superuser=True)[0])
    measured = []
    for path in paths():
        counter = Counter()
        with connection.execute_wrapper(counter):
            response = client.get(path)
        if response.status_code != 200:
            raise RuntimeError(f"{path}: {response.status_code}")
        taken = []
        for _ in range(TURNS):
            begun = time.perf_counter()
            client.get(path)
            taken.append(1000 * (time.perf_counter() - begun))
        name = path.replace(IN_THE_MIDDLE, "in the middle")
        measured.append((name, counter.count, min(taken)))
    print(json.dumps(measured))


def measure(server: Server) -> list[Row]:
    with Floor() as floor:
        opened = subprocess.run(
            [
                sys.executable,
                "-W",
                "ignore",
                "-m",
                "spool.bench.console_scale",
                "--open",
            ],
            cwd=ROOT,
            env={
                **os.environ,
                **server.environment(),
                "DJANGO_SETTINGS_MODULE": SETTINGS,
            },
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        )
        floor_ms = floor.ms()
    rows = []
    for path, queries, ms in json.loads(opened.stdout.splitlines()[-1]):
        # A page with more queries than the limit counts as too slow.
        name = path.removeprefix("/admin/") or "overview"
        details = {"queries": queries}
        rows.append(Row(name, ms, "ms", MAX_FLOORS, False, details, floor_ms))
        if queries > MAX_QUERIES:
            rows.append(Row(f"queries of {name}", queries, "", MAX_QUERIES))
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m bench.console_scale", description=__doc__
    )
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--no-write", action="store_true", help="print only")
    parser.add_argument(
        "--home", type=Path, help="a folder that the server and its rows stay in"
    )
    parser.add_argument("--open", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.open:
        open_pages()
        return 0
    if arguments.home:
        arguments.home.mkdir(parents=True, exist_ok=True)
    server = Server(
        CONFIG,
        home=arguments.home,
        RUN_RECORD_TTL_DAYS=NEVER,
        WEBHOOK_DELIVERIES_TTL_DAYS=NEVER,
    )
    server.start()
    try:
        seed(server, arguments.rows)
        rows = measure(server)
    finally:
        server.stop(keep_home=bool(arguments.home))
    return report.finish(HEADING, ABOUT, rows, write=not arguments.no_write)


if __name__ == "__main__":
    sys.exit(main())
