"""The queue: the exact order of claims, on a real Postgres."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.db.models.expressions import RawSQL

from spool.access.policy import Scope
from spool.assistants.models import Assistant
from spool.assistants.services import delete_assistant, register_system_assistants
from spool.database.loop import Loop
from spool.database.tests.together import at_once
from spool.runs import lifecycle, queue, recovery
from spool.runs.models import Pause, QueueEntry, Run, Worker
from spool.runs.run_request import AllowedRun
from spool.runs.serializers import parse_run_request
from spool.runs.services import create_run
from spool.runs.tests.conftest import ECHO

pytestmark = pytest.mark.django_db(transaction=True)

Make = Callable[..., Run]
Claim = Callable[[], str | None]


@pytest.fixture(autouse=True)
def _no_messages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Send no messages, so that only the test claims these runs."""
    register_system_assistants()
    monkeypatch.setattr("spool.runs.tasks.send", lambda *args, **kwargs: None)


@pytest.fixture
def make(loop: Loop, worker: Worker) -> Make:
    """Creates a pending run on its own thread."""

    def make(owner: str, run_class: str = "background", **body: Any) -> Run:
        scope = Scope(owner, user={"identity": owner}, is_plain=True)
        request = parse_run_request({**ECHO, **body})
        return create_run(AllowedRun(request, scope, run_class=run_class))

    return make


@pytest.fixture
def claim(loop: Loop, worker: Worker) -> Claim:
    """Claims the next run. Returns its owner, or None if there is no run to claim."""

    def claim() -> str | None:
        held = loop.run(lifecycle.claim(loop.pool, None, worker.id))
        return held.owner if held else None

    return claim


def test_owners_take_turns(make: Make, claim: Claim) -> None:
    for owner in ("alice", "alice", "alice", "alice", "bob", "bob", "carol"):
        make(owner)

    claimed = [claim() for _ in range(8)]

    assert claimed == [
        *("alice", "bob", "carol"),
        *("alice", "bob"),
        *("alice",) * 2,
        None,
    ]


def test_who_comes_late_is_served_before_a_crowd(make: Make, claim: Claim) -> None:
    for _ in range(20):
        make("crowd")
    claim()
    make("late")

    assert claim() == "late"


def test_an_owner_whose_run_has_ended_goes_behind_others(
    make: Make, claim: Claim
) -> None:
    for owner in ("alice", "alice", "bob"):
        make(owner)
    claim()
    Run.objects.running().update(status=Run.Status.SUCCESS)

    assert claim() == "bob"


def test_who_waits_for_a_run_goes_first(make: Make, loop: Loop, worker: Worker) -> None:
    runs = [make("alice", kind) for kind in ("cron", "background", "interactive")]

    claimed = [loop.run(lifecycle.claim(loop.pool, None, worker.id)) for _ in runs]

    assert [held and held.id for held in claimed] == [run.id for run in reversed(runs)]


def test_runs_of_a_thread_keep_their_order(
    make: Make, loop: Loop, worker: Worker
) -> None:
    first = make("alice", "cron", on_completion="keep")
    scope = Scope("alice", is_plain=True)
    request = parse_run_request(ECHO)
    create_run(AllowedRun(request, scope, first.thread_id, run_class="interactive"))

    held = loop.run(lifecycle.claim(loop.pool, None, worker.id))

    assert held is not None
    assert held.id == first.id
    assert loop.run(lifecycle.claim(loop.pool, None, worker.id)) is None


def test_the_limit_of_an_owner_lets_others_pass(
    make: Make, claim: Claim, settings: Any
) -> None:
    settings.MAX_RUNNING_PER_OWNER = 2
    for owner in ("alice", "alice", "alice", "bob"):
        make(owner)

    assert [claim() for _ in range(4)] == ["alice", "bob", "alice", None]


def test_the_limit_of_a_graph(make: Make, claim: Claim, settings: Any) -> None:
    settings.MAX_RUNNING_PER_GRAPH = 1
    make("alice")
    make("bob")

    assert [claim(), claim()] == ["alice", None]


def test_a_key_of_the_metadata_may_name_the_owner(
    make: Make, loop: Loop, worker: Worker, settings: Any
) -> None:
    settings.FAIRNESS_KEY = "metadata.user"
    for user in ("u1", "u1", "u2"):
        make("backend", metadata={"user": user})

    claimed = [loop.run(lifecycle.claim(loop.pool, None, worker.id)) for _ in range(3)]

    users = [held.metadata["user"] for held in claimed if held]
    assert users == ["u1", "u2", "u1"]


@pytest.mark.parametrize(("kind", "name"), [("owner", "alice"), ("graph", "echo")])
def test_what_is_paused_waits(make: Make, claim: Claim, kind: str, name: str) -> None:
    make("alice")
    call_command("pause", kind, name)

    assert claim() is None
    Run.objects.update(dispatched_at="2020-01-01T00:00Z")
    assert recovery.runs_to_wake() == []
    assert Run.objects.get().status == Run.Status.PENDING

    call_command("resume", kind, name)
    assert claim() == "alice"


def test_a_paused_assistant_waits_and_others_of_its_graph_run(
    make: Make, claim: Claim
) -> None:
    slow = Assistant.objects.create(graph_id="echo", name="slow")
    for owner in ("alice", "bob"):
        make(owner, assistant_id=str(slow.pk))
    call_command("pause", "assistant", str(slow.pk).upper())
    make("alice", assistant_id=str(slow.pk))
    make("alice")

    assert [claim(), claim()] == ["alice", None]
    assert Run.objects.running().get().assistant_id != slow.pk
    assert recovery.runs_to_wake() == []
    assert Run.objects.filter(status=Run.Status.PENDING).count() == 3

    call_command("resume", "assistant", str(slow.pk))
    assert [claim() for _ in range(4)] == ["bob", "alice", "alice", None]


def test_a_pause_ends_with_its_assistant(make: Make, claim: Claim) -> None:
    slow = Assistant.objects.create(graph_id="echo", name="slow")
    make("alice", assistant_id=str(slow.pk))
    call_command("pause", "assistant", str(slow.pk))
    assert claim() is None

    delete_assistant(Assistant.objects.all(), slow.pk)

    assert not Pause.objects.exists()
    assert Run.objects.get().status == Run.Status.INTERRUPTED


def test_runs_created_while_an_assistant_is_paused_and_resumed_all_start(
    make: Make, loop: Loop, worker: Worker
) -> None:
    slow = Assistant.objects.create(graph_id="echo", name="slow")

    def create() -> None:
        for _ in range(5):
            make("alice", assistant_id=str(slow.pk))

    def pause_and_resume() -> None:
        for _ in range(5):
            queue.pause(Pause.Kind.ASSISTANT, str(slow.pk))
            queue.resume(Pause.Kind.ASSISTANT, str(slow.pk))

    def take() -> None:
        for _ in range(5):
            loop.run(lifecycle.claim(loop.pool, None, worker.id))

    at_once([create, create, pause_and_resume, take, take])
    recovery.runs_to_wake()
    while loop.run(lifecycle.claim(loop.pool, None, worker.id)):
        recovery.runs_to_wake()

    assert Run.objects.running().count() == 10


def test_an_owner_has_a_limit_of_its_own(
    make: Make, claim: Claim, settings: Any
) -> None:
    settings.MAX_RUNNING_PER_OWNER = 1
    queue.limit_owner("alice", 2)
    queue.limit_owner("carol", 0)
    for owner in ("alice", "bob", "carol"):
        for _ in range(3):
            make(owner)

    claimed = [claim() for _ in range(7)]

    assert sorted(filter(None, claimed)) == [*["alice"] * 2, "bob", *["carol"] * 3]
    queue.limit_owner("alice", None)
    assert claim() is None


def test_a_paused_worker_takes_nothing(
    make: Make, claim: Claim, worker: Worker
) -> None:
    make("alice")
    call_command("pause", "worker", str(worker.id))

    assert claim() is None


def test_what_is_not_paused_can_not_be_resumed() -> None:
    call_command("pause", "graph", "echo")
    call_command("pause", "graph", "echo")
    assert Pause.objects.count() == 1

    with pytest.raises(CommandError, match="graph other is not paused"):
        call_command("resume", "graph", "other")
    with pytest.raises(CommandError, match="worker echo: name it by its id"):
        call_command("pause", "worker", "echo")


def test_claims_at_once_take_each_run_once(
    make: Make, loop: Loop, worker: Worker
) -> None:
    made = {make(f"owner{n % 3}").id for n in range(12)}

    claimed = at_once(
        [lambda: loop.run(lifecycle.claim(loop.pool, None, worker.id))] * 12
    )

    # A claim may find none if other claims hold the last run of each group.
    taken = [held.id for held in claimed if held]
    assert len(taken) == len(set(taken))
    while held := loop.run(lifecycle.claim(loop.pool, None, worker.id)):
        taken.append(held.id)
    assert set(taken) == made
    assert QueueEntry.objects.count() == 0


def test_a_run_that_an_older_version_queued_is_found_by_its_message(
    make: Make, loop: Loop, worker: Worker
) -> None:
    run = make("alice")
    QueueEntry.objects.all().delete()

    assert loop.run(lifecycle.claim(loop.pool, None, worker.id)) is None
    held = loop.run(lifecycle.claim(loop.pool, None, worker.id, hint=run.id))
    assert held is not None
    assert held.id == run.id


def test_the_tick_finds_it_too(make: Make, claim: Claim) -> None:
    run = make("alice")
    QueueEntry.objects.all().delete()
    Run.objects.update(dispatched_at="2020-01-01T00:00Z")

    assert recovery.runs_to_wake() == [run.id]
    assert claim() == "alice"


@pytest.mark.parametrize("owners", [1, 1000])
def test_a_claim_reads_no_more_where_more_waits(
    make: Make, loop: Loop, worker: Worker, owners: int
) -> None:
    """Counts the pages that Postgres reads, since times are not exact."""
    few = _pages_of_a_claim(make, loop, worker, runs=1000, owners=owners)

    many = _pages_of_a_claim(make, loop, worker, runs=10_000, owners=owners)

    # An index may be one level deeper: one more page for each lookup.
    assert many <= few + 15


def test_a_crowd_delays_no_other_owner(make: Make, claim: Claim) -> None:
    make("first")
    with connection.cursor() as cursor:
        cursor.execute(SEED, {"runs": 5000, "owners": 1})
    assert [claim(), claim()] == ["first", "o0"]
    late = [f"late{number}" for number in range(50)]
    for owner in late:
        make(owner)

    assert [claim() for _ in late] == late
    assert claim() == "o0"


@pytest.mark.parametrize("paused", [*Pause.Kind.values[:2]])
def test_a_claim_reads_no_more_where_much_is_paused(
    make: Make, loop: Loop, worker: Worker, paused: str
) -> None:
    _pages_of_a_claim(make, loop, worker, runs=2000, owners=1000)
    Run.objects.filter(owner__gte="o5").update(graph_id="other")
    QueueEntry.objects.filter(fairness_group__gte="o5").update(graph_id="other")
    names = {"owner": [f"o{number}" for number in range(900)], "graph": ["other"]}

    with connection.cursor() as cursor:
        few = min(_pages(cursor, worker) for _ in range(5))
        Pause.objects.bulk_create(
            Pause(kind=paused, name=name) for name in names[paused]
        )
        _pages(cursor, worker)  # The first claim puts them at the end.
        cursor.execute("VACUUM run_queue")
        many = min(_pages(cursor, worker) for _ in range(5))

    assert many <= few + 15


def test_an_owner_that_was_passed_over_is_served_after_its_pause(
    make: Make, claim: Claim
) -> None:
    make("alice")
    call_command("pause", "owner", "alice")
    assert claim() is None
    make("alice")

    call_command("resume", "owner", "alice")

    assert [claim(), claim()] == ["alice", "alice"]


def test_the_tick_puts_back_an_owner_that_is_not_paused_any_more(
    make: Make, claim: Claim
) -> None:
    run = make("alice")
    QueueEntry.objects.update(since=RawSQL("'infinity'::timestamptz", []))
    Run.objects.update(dispatched_at="2020-01-01T00:00Z")
    assert claim() is None

    assert recovery.runs_to_wake() == [run.id]
    assert claim() == "alice"


SEED = """
WITH made AS (
    INSERT INTO threads (id, status, resting_status, metadata, config, ttl_strategy)
    SELECT gen_random_uuid(), 'busy', 'idle', '{}', '{}', 'delete'
    FROM generate_series(1, %(runs)s)
    RETURNING id
), runs AS (
    INSERT INTO runs (id, thread_id, assistant_id, graph_id, status, metadata, kwargs,
        multitask_strategy, is_temporary, owner, fairness_group, attempt, losses,
        dispatched_at)
    SELECT gen_random_uuid(), id, gen_random_uuid(), 'echo', 'pending', '{}',
        (SELECT kwargs FROM runs LIMIT 1), 'enqueue', false,
        'o' || row_number() OVER () %% %(owners)s,
        'o' || row_number() OVER () %% %(owners)s, 0, 0, clock_timestamp()
    FROM made
    RETURNING graph_id, fairness_group
)
INSERT INTO run_queue (graph_id, fairness_group)
SELECT DISTINCT graph_id, fairness_group FROM runs ON CONFLICT DO NOTHING
"""


def _pages_of_a_claim(
    make: Make, loop: Loop, worker: Worker, *, runs: int, owners: int
) -> int:
    make("first")
    with connection.cursor() as cursor:
        cursor.execute(SEED, {"runs": runs, "owners": owners})
        cursor.execute("ANALYZE runs")
        cursor.execute("ANALYZE run_queue")
        return min(_pages(cursor, worker) for _ in range(5))


def _pages(cursor: Any, worker: Worker) -> int:
    cursor.execute(
        "EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) "
        "SELECT spool_next_run_1(%s, NULL, 0, 0)",
        [worker.id],
    )
    [plan] = cursor.fetchone()[0]
    found = plan["Plan"]
    return int(found["Shared Hit Blocks"] + found["Shared Read Blocks"])
