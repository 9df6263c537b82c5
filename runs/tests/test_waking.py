"""The tick's search for runs that no message has woken a worker for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import pytest
from django.db import connection

from spool.access.policy import Scope
from spool.assistants.services import register_system_assistants
from spool.database.loop import Loop
from spool.database.tests.together import at_once
from spool.runs import lifecycle, queue, recovery
from spool.runs.lifecycle import Searched, waking
from spool.runs.models import Pause, QueueEntry, Run, Worker
from spool.runs.run_request import AllowedRun
from spool.runs.serializers import parse_run_request
from spool.runs.services import create_run
from spool.runs.tests.conftest import ECHO

pytestmark = pytest.mark.django_db(transaction=True)

Make = Callable[..., Run]
Crowd = Callable[..., None]

LONG_AGO = "2020-01-01T00:00Z"
# Runs of one assistant and many owners, which were created one after another.
CROWD = """
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
    created_at, dispatched_at)
SELECT gen_random_uuid(), id, (SELECT assistant_id FROM runs LIMIT 1), 'echo',
    'pending', '{}', '{}', 'enqueue', false, 'o' || number %% %(owners)s,
    'o' || number %% %(owners)s, 0, 0,
    %(created)s::timestamptz + make_interval(secs => %(runs)s + number / 1000.0),
    %(dispatched)s
FROM numbered
"""
PAUSES = {"owner": "o0", "graph": "echo", "assistant": ""}


@pytest.fixture(autouse=True)
def _no_messages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Send no messages, and search like a process that has just started."""
    register_system_assistants()
    monkeypatch.setattr("spool.runs.tasks.send", lambda *args, **kwargs: None)
    monkeypatch.setattr("spool.runs.recovery._searched", Searched())


@pytest.fixture
def make(loop: Loop, worker: Worker) -> Make:
    """Creates a pending run on its own thread."""

    def make(owner: str, **body: Any) -> Run:
        scope = Scope(owner, user={"identity": owner}, is_plain=True)
        return create_run(AllowedRun(parse_run_request({**ECHO, **body}), scope))

    return make


@pytest.fixture
def crowd(make: Make) -> Crowd:
    """A function that creates many pending runs, which are ready or not."""

    def crowd(runs: int, *, owners: int = 1, is_ready: bool = True) -> None:
        make("first")
        dispatched = LONG_AGO if is_ready else None
        given = {"runs": runs, "owners": owners, "dispatched": dispatched}
        with connection.cursor() as cursor:
            cursor.execute(CROWD, given | {"created": LONG_AGO})
            cursor.execute("ANALYZE runs")

    return crowd


@pytest.mark.parametrize(("kind", "name"), PAUSES.items())
def test_a_search_reads_no_more_where_more_is_paused(
    crowd: Crowd, kind: str, name: str
) -> None:
    """Counts the pages that Postgres reads, since times are not exact."""
    pages = []
    for runs in (1000, 3000):
        crowd(runs, is_ready=kind != "assistant")
        name = name or str(Run.objects.latest("created_at").assistant_id)
        Pause.objects.get_or_create(kind=kind, name=name)
        recovery.runs_to_wake()  # The first search looks at all of them.
        with connection.cursor() as cursor:
            cursor.execute("VACUUM runs")
        pages.append(_pages_of_a_search())

    # An index may be one level deeper: one more page for each lookup.
    few, many = pages
    assert many <= 1.3 * few + 15


def test_all_that_are_due_become_ready(crowd: Crowd) -> None:
    crowd(waking.MAX_READY + 10, is_ready=False)

    recovery.runs_to_wake()
    recovery.runs_to_wake()

    assert not Run.objects.filter(dispatched_at=None).exists()


def test_a_run_that_was_left_behind_is_found_among_many_that_wait(
    crowd: Crowd, make: Make
) -> None:
    crowd(2 * waking.LOOKED_AT_AGAIN, is_ready=False)
    paused = str(Run.objects.latest("created_at").assistant_id)
    Pause.objects.create(kind="assistant", name=paused)
    recovery.runs_to_wake()
    left = make("alice")
    Run.objects.filter(pk=left.pk).update(
        dispatched_at=None, created_at="2020-02-01T00:00Z", assistant_id=left.pk
    )

    found = [run_id for _ in range(4) for run_id in recovery.runs_to_wake()]

    assert left.pk in found


def test_groups_that_the_queue_lacks_are_added(crowd: Crowd) -> None:
    groups = waking.GROUPS_LOOKED_AT + 10
    crowd(groups, owners=groups)
    QueueEntry.objects.all().delete()
    queue.pause("owner", "o7")

    recovery.runs_to_wake()
    recovery.runs_to_wake()

    assert QueueEntry.objects.count() == groups + 1
    queue.resume("owner", "o7")
    assert not QueueEntry.objects.filter(since__gt="9999-01-01T00:00Z").exists()


def test_a_search_takes_nothing_out_of_the_queue(
    make: Make, loop: Loop, worker: Worker
) -> None:
    run = make("alice")

    assert recovery.runs_to_wake() == []

    held = loop.run(lifecycle.claim(loop.pool, None, worker.id))
    assert held is not None
    assert held.id == run.id


def test_owners_at_their_limit_hide_no_other_run(
    make: Make, loop: Loop, worker: Worker, settings: Any
) -> None:
    settings.MAX_RUNNING_PER_OWNER = 1
    for _ in range(2 * worker.capacity):
        make("alice")
    loop.run(lifecycle.claim(loop.pool, None, worker.id))
    run = make("bob")
    Run.objects.pending().update(dispatched_at=LONG_AGO)

    assert recovery.runs_to_wake()[0] == run.id


def test_searches_and_claims_at_once_lose_no_run(
    make: Make, loop: Loop, worker: Worker
) -> None:
    made = {make(owner).id for owner in ("alice", "bob", "carol") for _ in range(4)}
    Run.objects.update(dispatched_at=LONG_AGO)
    taken = []

    def take() -> None:
        for _ in range(4):
            if held := loop.run(lifecycle.claim(loop.pool, None, worker.id)):
                taken.append(held.id)

    at_once([take, recovery.runs_to_wake] * 4)
    while held := loop.run(lifecycle.claim(loop.pool, None, worker.id)):
        taken.append(held.id)

    assert sorted(taken) == sorted(made)


def _pages_of_a_search() -> int:
    statements = {
        waking.MAKE_READY: asdict(recovery._searched),
        waking.NEXT: {"max_per_group": 0, "max_per_graph": 0},
    }
    with connection.cursor() as cursor:
        return sum(_pages(cursor, *statement) for statement in statements.items())


def _pages(cursor: Any, statement: str, params: dict[str, Any]) -> int:
    cursor.execute(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {statement}", params)
    [plan] = cursor.fetchone()[0]
    found = plan["Plan"]
    return int(found["Shared Hit Blocks"] + found["Shared Read Blocks"])
