"""A worker's runs one after another: the end of each claims the next."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import pytest
from django.db import connection

from spool.access.keys import create_key, revoke
from spool.access.models import ApiKey
from spool.database.loop import Loop, conninfo
from spool.database.tests.locks import wait_until_blocked
from spool.database.tests.together import at_once
from spool.runs import lifecycle, queue
from spool.runs.lifecycle import Claim, Claimant, Ended, Outcome
from spool.runs.models import Run, Worker
from spool.runs.tests.executing import Here, begun, wait_for
from spool.tests.live import WAIT_SECS
from spool.threads.models import Thread

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("agents"),
]

Make = Callable[..., Run]
SUCCESS = Outcome(Run.Status.SUCCESS)


@pytest.fixture(autouse=True)
def _no_messages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Send no messages, so that only the test claims these runs."""
    monkeypatch.setattr("spool.runs.tasks.send", lambda *args, **kwargs: None)


@pytest.fixture
def claim(loop: Loop, worker: Worker) -> Callable[[], Claim]:
    def claim() -> Claim:
        held = loop.run(lifecycle.claim(loop.pool, None, worker.id))
        assert held is not None
        return held

    return claim


@pytest.fixture
def end(loop: Loop, worker: Worker) -> Callable[[Claim], Ended | None]:
    """Ends a run, and claims the next one."""
    claimant = Claimant(worker.id, {"steps": "r1"})
    return lambda held: loop.run(
        lifecycle.end(loop.pool, held, SUCCESS, claimant=claimant)
    )


@pytest.fixture
def alone(make: Make, db: None) -> Make:
    """Creates a pending run on its own thread."""

    def alone(owner: str = "", **body: Any) -> Run:
        run = make(thread_id=Thread.objects.create().id, **body)
        Run.objects.filter(pk=run.pk).update(fairness_group=owner)
        with connection.cursor() as cursor:
            cursor.execute(
                "INSERT INTO run_queue VALUES (%s, %s, now()) ON CONFLICT DO NOTHING",
                [run.graph_id, owner],
            )
        return run

    return alone


def ended_by(found: Ended | None) -> Ended:
    assert found is not None
    return found


def test_the_end_of_a_run_claims_the_next(
    alone: Make, claim: Any, end: Any, worker: Worker
) -> None:
    alone()
    held, second = claim(), alone()

    ended = ended_by(end(held))

    claimed = ended.claim
    second.refresh_from_db()
    assert claimed is not None
    assert (claimed.id, claimed.attempt, claimed.revision) == (second.id, 1, "r1")
    assert claimed.kwargs.input == second.kwargs["input"]
    assert not claimed.has_checkpoints
    assert (second.status, second.worker_id) == ("running", worker.id)


def test_the_run_behind_it_on_its_thread_may_be_the_next(
    make: Make, claim: Any, end: Any
) -> None:
    make()
    held, second = claim(), make()

    ended = ended_by(end(held))

    assert (ended.next_run_id, ended.claim and ended.claim.id) == (second.id,) * 2
    assert not ended.has_news(taken=second.id)
    assert ended.has_news(taken=None)


def test_an_end_with_nothing_behind_it_claims_nothing(
    alone: Make, claim: Any, end: Any
) -> None:
    alone()

    ended = ended_by(end(claim()))

    assert (ended.has_asked, ended.claim) == (True, None)


def test_the_next_run_is_that_of_the_queue(alone: Make, claim: Any, end: Any) -> None:
    for owner in ("crowd", "crowd", "crowd"):
        alone(owner)
    held, _, late = claim(), claim(), alone("late")

    ended = ended_by(end(held))

    assert ended.claim is not None
    assert ended.claim.id == late.id


@pytest.mark.parametrize("kind", ["owner", "graph", "worker"])
def test_an_end_claims_nothing_that_is_paused(
    alone: Make, claim: Any, end: Any, worker: Worker, kind: str
) -> None:
    alone("alice")
    held, waiting = claim(), alone("alice")
    name = {"owner": "alice", "graph": waiting.graph_id, "worker": str(worker.id)}[kind]
    queue.pause(kind, name)

    assert ended_by(end(held)).claim is None
    waiting.refresh_from_db()
    assert waiting.status == "pending"


def test_the_run_that_ends_does_not_count_against_a_limit(
    alone: Make, claim: Any, end: Any, settings: Any
) -> None:
    settings.MAX_RUNNING_PER_OWNER = settings.MAX_RUNNING_PER_GRAPH = 1
    alone("alice")
    held, second = claim(), alone("alice")

    ended = ended_by(end(held))

    assert ended.claim is not None
    assert ended.claim.id == second.id


def test_an_owner_that_is_paused_in_mid_chain_is_served_after_its_pause(
    alone: Make, claim: Any, end: Any
) -> None:
    alone("alice")
    first, second, other = claim(), alone("alice"), alone("bob")

    queue.pause("owner", "alice")
    taken = ended_by(end(first)).claim
    assert ended_by(end(taken)).claim is None
    queue.resume("owner", "alice")

    assert taken is not None
    assert [taken.id, claim().id] == [other.id, second.id]


def test_a_limit_that_is_set_in_mid_chain_holds_at_the_next_run(
    alone: Make, claim: Any, end: Any
) -> None:
    for _ in range(3):
        alone("alice")
    first, second = claim(), claim()

    queue.limit_owner("alice", 1)

    assert ended_by(end(first)).claim is None
    assert ended_by(end(second)).claim is not None


def test_runs_of_a_thread_keep_their_order_under_limits_ranks_and_pauses(
    make: Make, alone: Make, claim: Any, end: Any, settings: Any
) -> None:
    settings.MAX_RUNNING_PER_OWNER = 1
    runs = [make() for _ in range(4)]
    for rank, run in enumerate(reversed(runs)):  # The last ones are the most urgent.
        Run.objects.filter(pk=run.pk).update(queue_rank=rank - 10)
    alone()

    order, held = [], claim()
    for kind in ("owner", "graph", "owner", "graph"):
        order.append(held.id)
        name = {"owner": "", "graph": held.graph_id}[kind]
        queue.pause(kind, name)
        assert ended_by(end(held)).claim is None
        queue.resume(kind, name)
        held = claim()
    order.append(held.id)

    assert [run_id for run_id in order if run_id in {run.id for run in runs}] == [
        run.id for run in runs
    ]


def test_a_worker_that_has_expired_ends_its_run_but_claims_none(
    alone: Make, claim: Any, end: Any, worker: Worker
) -> None:
    alone()
    held = claim()
    alone()
    Worker.objects.filter(pk=worker.pk).update(expired_at=held.claimed_at)

    ended = ended_by(end(held))

    assert ended.claim is None


def test_ends_at_once_claim_different_runs(alone: Make, claim: Any, end: Any) -> None:
    for _ in range(8):
        alone()
    held = [claim() for _ in range(8)]
    waiting = {alone().id for _ in range(12)}

    found = at_once([partial(end, one) for one in held])

    claimed = [one.claim.id for one in found if one and one.claim]
    assert len(claimed) == len(set(claimed)) == 8
    assert set(claimed) <= waiting


def test_ends_and_creates_at_once_block_each_other_for_no_longer(
    alone: Make, make: Make, claim: Any, end: Any
) -> None:
    threads = [alone().thread_id for _ in range(6)]
    held = [claim() for _ in range(6)]

    jobs = [partial(end, one) for one in held]
    jobs += [partial(make, thread_id=of) for of in threads]

    found = at_once(jobs)

    created = {run.id for run in found[6:]}
    claimed = [one.claim.id for one in found[:6] if one.claim]
    assert len(claimed) == len(set(claimed))
    assert set(claimed) <= created
    assert Run.objects.filter(status="success").count() == 6


def test_a_run_whose_thread_has_just_started_another_is_not_claimed(
    alone: Make, make: Make, claim: Any, end: Any
) -> None:
    alone()
    held, first = claim(), alone()
    second = make(thread_id=first.thread_id)
    found: list[Ended | None] = []
    ending = threading.Thread(target=lambda: found.append(end(held)))

    with psycopg.connect(conninfo()) as other:
        other.execute("UPDATE runs SET status = 'running' WHERE id = %s", [second.id])
        ending.start()
        wait_until_blocked()
        other.commit()
    ending.join(WAIT_SECS)

    [ended] = found
    assert (ended_by(ended).has_asked, ended_by(ended).claim) == (False, None)
    first.refresh_from_db()
    assert first.status == "pending"
    assert Run.objects.get(pk=held.id).status == "success"


# --- On the loop ------------------------------------------------------------------------
def execute_all(here: Here) -> list[tuple[Ended, UUID | None]]:
    """Execute all runs that can be claimed. Return ends, and what was taken next."""
    news: list[tuple[Ended, UUID | None]] = []
    here.loop.run(
        here.executor.execute_all(
            announce=lambda ended, taken: news.append((ended, taken))
        )
    )
    return news


def test_a_chain_executes_all_that_waits(
    here: Here, alone: Make, tmp_path: Path
) -> None:
    (tmp_path / "go").touch()
    runs = [alone() for _ in range(5)]

    news = execute_all(here)

    assert set(Run.objects.values_list("status", "attempt")) == {("success", 1)}
    assert begun(tmp_path) == ["one", "two", "three"] * 5
    assert [taken for _, taken in news] == [*[run.id for run in runs[1:]], None]
    assert list(here.executor.held_runs) == []


def test_a_chain_goes_on_behind_a_run_that_fails_or_is_rolled_back(
    here: Here, alone: Make, tmp_path: Path
) -> None:
    (tmp_path / "go").touch()
    alone("a", graph="fails")
    undone, last = alone("b"), alone("c")
    Run.objects.filter(pk=undone.pk).update(cancel_action="rollback")

    execute_all(here)

    last.refresh_from_db()
    assert last.status == "success"
    assert not Run.objects.filter(pk=undone.pk).exists()
    # Only a graph's `RetryPolicy` retries.
    assert Run.objects.get(graph_id="fails").attempt == 1


def test_a_chain_goes_on_behind_a_run_that_is_over_its_budget(
    here: Here, alone: Make, tmp_path: Path
) -> None:
    (tmp_path / "go").touch()
    alone("a")
    stopped, last = alone("b"), alone("c")
    Run.objects.filter(pk=stopped.pk).update(cancel_action=Run.OVER_BUDGET)

    execute_all(here)

    stopped.refresh_from_db()
    last.refresh_from_db()
    assert (stopped.status, stopped.error) == ("error", Run.BUDGET_ERROR)
    assert last.status == "success"


def test_a_chain_leaves_what_is_paused_meanwhile(
    here: Here, alone: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "go").touch()
    alone("a")
    paused, last = alone("b"), alone("c")
    end = lifecycle.end

    def pause() -> None:
        queue.pause("owner", "b")
        connection.close()

    async def behind_a_pause(*args: Any, **kwargs: Any) -> Ended | None:
        await asyncio.to_thread(pause)
        return await end(*args, **kwargs)

    monkeypatch.setattr("spool.runs.lifecycle.end", behind_a_pause)
    execute_all(here)

    paused.refresh_from_db()
    last.refresh_from_db()
    assert (paused.status, last.status) == ("pending", "success")


@pytest.mark.parametrize("end_key", [lambda key: revoke([key]), ApiKey.delete])
def test_a_chain_executes_what_a_key_asked_for_before_its_end(
    here: Here, alone: Make, tmp_path: Path, end_key: Callable[[ApiKey], object]
) -> None:
    """Runs that were accepted are executed. Pauses and deletions stop them."""
    (tmp_path / "go").touch()
    key, _ = create_key(owner="a")
    for owner in ("a", "b", "a"):
        alone(owner)
    Run.objects.filter(fairness_group="a").update(api_key_id=key.pk)

    end_key(key)
    execute_all(here)

    assert set(Run.objects.values_list("status", "attempt")) == {("success", 1)}


def test_a_worker_that_stops_hands_back_what_it_has_just_claimed(
    here: Here, alone: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "go").touch()
    alone()
    second = alone()
    end = lifecycle.end

    async def then_stop(*args: Any, **kwargs: Any) -> Ended | None:
        ended = await end(*args, **kwargs)
        here.executor.may_claim = lambda: False
        return ended

    monkeypatch.setattr("spool.runs.lifecycle.end", then_stop)
    news = execute_all(here)

    second.refresh_from_db()
    assert (second.status, second.worker_id) == ("pending", None)
    assert begun(tmp_path) == ["one", "two", "three"]
    # Another worker is woken for the second run.
    assert [ended.next_run_id for ended, _ in news] == [None, second.id]
    assert news[-1][0].has_news(taken=None)


def test_a_stop_that_comes_while_the_end_claims_its_run_is_kept(
    here: Here, alone: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "go").touch()
    alone()
    second = alone()
    end = lifecycle.end

    async def with_a_stop(*args: Any, **kwargs: Any) -> Ended | None:
        ended = await end(*args, **kwargs)
        here.executor.stop(second.id, Run.CancelAction.INTERRUPT)
        return ended

    monkeypatch.setattr("spool.runs.lifecycle.end", with_a_stop)
    execute_all(here)

    second.refresh_from_db()
    assert second.status == "interrupted"
    assert begun(tmp_path) == ["one", "two", "three"]


def test_an_end_whose_answer_is_lost_leaves_its_claim_to_recovery(
    here: Here, alone: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "go").touch()
    first = alone()
    second = alone()
    end = lifecycle.end

    faults = iter([psycopg.OperationalError("the connection is gone")])

    async def unanswered(*args: Any, **kwargs: Any) -> Ended | None:
        ended = await end(*args, **kwargs)
        for fault in faults:
            raise fault
        return ended

    monkeypatch.setattr("spool.runs.lifecycle.end", unanswered)
    execute_all(here)

    first.refresh_from_db()
    assert first.status == "success"
    second.refresh_from_db()
    assert (second.status, second.attempt) == ("running", 1)
    assert second.id not in here.executor.held_runs
    # The heartbeat finds the run, see `Worker._beat`; it is then like a dead worker's.
    with connection.cursor() as cursor:
        params: dict[str, Any] = {"run_id": second.id, "attempt": 1}
        cursor.execute(lifecycle.LET_GO, params)
    assert lifecycle.take_back(max_attempts=3) == [second.id]
    execute_all(here)
    second.refresh_from_db()
    assert (second.status, second.attempt) == ("success", 2)


def test_an_end_is_written_once_postgres_is_back(
    here: Here, alone: Make, tmp_path: Path
) -> None:
    run = alone()
    done = here.start(run)
    wait_for(lambda: begun(tmp_path) == ["one", "two"])
    with psycopg.connect(conninfo(), autocommit=True) as other:
        with other.transaction():
            other.execute(
                "SELECT FROM threads WHERE id = %s FOR UPDATE", [run.thread_id]
            )
            (tmp_path / "go").touch()
            wait_until_blocked()
            other.execute(
                """SELECT pg_terminate_backend(pid, 2000) FROM pg_stat_activity
                WHERE query LIKE '%spool_end_1%' AND pid <> pg_backend_pid()"""
            )
            run.refresh_from_db()
            assert run.status == "running"
        done.result()

    run.refresh_from_db()
    assert (run.status, run.attempt) == ("success", 1)
    assert begun(tmp_path) == ["one", "two", "three"]
    assert Thread.objects.get(pk=run.thread_id).values["log"] == ["one", "two", "three"]
