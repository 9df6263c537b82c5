"""Runs that are stopped, rolled back or deleted, and what is left of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest

from spool.assistants.graphs import registry
from spool.runs import lifecycle, services
from spool.runs.lifecycle import Claim
from spool.runs.models import Run
from spool.runs.streaming import events
from spool.runs.tests.executing import (
    Here,
    begun,
    checkpoint_rows,
    overtake,
    published,
    wait_for,
)
from spool.runs.worker.execution import HAND_BACK
from spool.tests.live import WAIT_SECS
from spool.threads.models import Thread
from spool.threads.services import delete_threads
from spool.threads.state import get_state

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("agents"),
]


def test_an_interrupted_run_keeps_what_it_did(
    here: Here, make: Callable[..., Run], thread: Thread, tmp_path: Path
) -> None:
    run = make()
    done = here.start(run)
    wait_for(lambda: begun(tmp_path) == ["one", "two"])

    here.stop(run, "interrupt")
    done.result()

    run.refresh_from_db()
    thread.refresh_from_db()
    assert (run.status, thread.status) == ("interrupted", "interrupted")
    assert thread.values["log"] == ["one"]
    assert published(thread.id)[-1] == ("end", b'"interrupted"')


def test_a_run_is_stopped_before_its_graph_is_made(
    here: Here, make: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A signal at that time must not be lost until the next heartbeat."""
    run = make()
    opened = registry().open

    def stopped_first(*args: Any, **kwargs: Any) -> Any:
        here.executor.stop(run.id, "interrupt")
        return opened(*args, **kwargs)

    monkeypatch.setattr(registry(), "open", stopped_first)

    here.start(run).result(timeout=WAIT_SECS)

    run.refresh_from_db()
    assert run.status == "interrupted"


@pytest.fixture
def claiming(monkeypatch: pytest.MonkeyPatch) -> Iterator[Barrier]:
    """Meets a claim twice: once its run is claimed, and before the worker knows it."""
    barrier, claim = Barrier(2), lifecycle.claim

    async def claim_and_wait(*args: Any, **kwargs: Any) -> Claim | None:
        held = await claim(*args, **kwargs)
        for _ in range(2):
            await asyncio.to_thread(barrier.wait, WAIT_SECS)
        return held

    monkeypatch.setattr("spool.runs.lifecycle.claim", claim_and_wait)
    yield barrier
    barrier.abort()


def test_a_run_is_stopped_while_it_is_claimed(
    here: Here, make: Callable[..., Run], tmp_path: Path, claiming: Barrier
) -> None:
    """The worker does not know yet which run it gets."""
    (tmp_path / "go").touch()
    run = make()
    done = here.start_next()

    claiming.wait(WAIT_SECS)
    here.executor.stop(run.id, "interrupt")
    claiming.wait(WAIT_SECS)
    done.result(timeout=WAIT_SECS)

    run.refresh_from_db()
    assert (run.status, begun(tmp_path)) == ("interrupted", [])


def test_a_stop_of_another_run_is_not_kept_for_later(
    here: Here, make: Callable[..., Run], tmp_path: Path, claiming: Barrier
) -> None:
    """It was meant for an attempt that another worker had."""
    (tmp_path / "go").touch()
    first, second = make(), make()
    done = here.start_next()
    claiming.wait(WAIT_SECS)
    here.executor.stop(second.id, HAND_BACK)
    claiming.wait(WAIT_SECS)
    done.result(timeout=WAIT_SECS)

    done = here.start_next()
    for _ in range(2):
        claiming.wait(WAIT_SECS)
    done.result(timeout=WAIT_SECS)

    ended = Run.objects.filter(pk__in=[first.id, second.id])
    assert [(run.status, run.attempt) for run in ended] == [("success", 1)] * 2


def test_a_run_that_is_rolled_back_leaves_nothing(
    here: Here, make: Callable[..., Run], thread: Thread, tmp_path: Path
) -> None:
    (tmp_path / "go").touch()
    here.execute(make())
    before = checkpoint_rows(thread.id)
    (tmp_path / "go").unlink()
    run = make()
    done = here.start(run)
    wait_for(lambda: begun(tmp_path).count("two") == 2)

    here.stop(run, "rollback")
    done.result()

    thread.refresh_from_db()
    assert not Run.objects.filter(pk=run.pk).exists()
    assert checkpoint_rows(thread.id) == before
    assert (thread.status, thread.values["log"]) == ("idle", ["one", "two", "three"])


@pytest.mark.parametrize("graph", ["steps", "asks_inside"])
def test_a_wish_to_roll_back_that_comes_at_the_very_end_is_heeded(
    here: Here, make: Callable[..., Run], thread: Thread, tmp_path: Path, graph: str
) -> None:
    (tmp_path / "go").touch()
    here.execute(make(graph))
    kept = ("status", "values", "interrupts", "error")
    before, shown = checkpoint_rows(thread.id), Thread.objects.values(*kept).get()
    (tmp_path / "go").unlink()
    answer = {"input": None, "command": {"resume": "this"}}
    run = make(graph, **(answer if graph == "asks_inside" else {}))
    done = here.start(run)
    wait_for(lambda: begun(tmp_path)[-1:] == ["two"])

    # The graph is not stopped, and runs to its end.
    Run.objects.filter(pk=run.pk).update(cancel_action="rollback")
    (tmp_path / "go").touch()
    ended = done.result(timeout=WAIT_SECS)

    assert ended is not None
    assert not Run.objects.filter(pk=run.pk).exists()
    assert checkpoint_rows(thread.id) == before
    assert Thread.objects.values(*kept).get() == shown
    assert published(thread.id)[-1] == ("end", b'"interrupted"')


@pytest.mark.parametrize(
    ("reason", "statuses"),
    [("interrupt", ["interrupted"]), ("rollback", []), ("too long", ["timeout"])],
)
def test_a_node_that_does_not_stop_delays_no_other(
    here: Here,
    make: Callable[..., Run],
    thread: Thread,
    tmp_path: Path,
    settings: Any,
    monkeypatch: pytest.MonkeyPatch,
    reason: str,
    statuses: list[str],
) -> None:
    monkeypatch.setattr("spool.runs.worker.execution.CANCEL_TIMEOUT_SECS", 0.05)
    settings.BG_JOB_TIMEOUT_SECS = 2 if reason == "too long" else 600
    run = make("deaf", durability="sync")
    done = here.start(run)
    wait_for((tmp_path / "begun").exists)

    if reason != "too long":
        here.stop(run, reason)
    done.result(timeout=WAIT_SECS)
    saved, told = checkpoint_rows(thread.id), published(thread.id)
    (graph,) = (
        task
        for task in asyncio.all_tasks(here.loop.asyncio_loop)
        if task.get_name() == f"run {run.id}"
    )
    (tmp_path / "go").touch()
    wait_for(graph.done)

    assert [one.status for one in Run.objects.all()] == statuses
    # What the graph does after that has no effect.
    assert (checkpoint_rows(thread.id), published(thread.id)) == (saved, told)
    assert begun(tmp_path) == []


def test_a_rollback_takes_back_an_answer_to_a_subgraph(
    here: Here, make: Callable[..., Run], thread: Thread, tmp_path: Path
) -> None:
    here.execute(make("asks_inside"))
    before = checkpoint_rows(thread.id)
    run = make("asks_inside", input=None, command={"resume": "this"})
    done = here.start(run)
    wait_for(lambda: begun(tmp_path) == ["two"])
    here.stop(run, "rollback")
    done.result()
    thread.refresh_from_db()
    assert (thread.status, checkpoint_rows(thread.id)) == ("interrupted", before)

    (tmp_path / "go").touch()
    here.execute(make("asks_inside", input=None, command={"resume": "that"}))

    thread.refresh_from_db()
    assert (thread.status, thread.values["log"]) == ("idle", ["that", "two"])


def test_who_has_lost_a_run_takes_nothing_of_it_back(
    here: Here, make: Callable[..., Run], thread: Thread, tmp_path: Path
) -> None:
    run = make(durability="sync")
    done = here.start(run)
    wait_for(lambda: begun(tmp_path) == ["one", "two"])

    overtake(run)
    before = checkpoint_rows(thread.id)
    here.stop(run, "rollback")

    assert done.result() is None
    assert checkpoint_rows(thread.id) == before


def test_a_deleted_run_takes_what_it_saved_with_it(
    here: Here, make: Callable[..., Run], thread: Thread, tmp_path: Path
) -> None:
    (tmp_path / "go").touch()
    here.execute(first := make())
    rows = checkpoint_rows(thread.id)
    here.execute(second := make())

    services.delete_run(second)

    thread.refresh_from_db()
    assert checkpoint_rows(thread.id) == rows
    assert thread.values["log"] == get_state(thread).values["log"]
    assert (thread.status, len(thread.values["log"])) == ("idle", 3)

    services.delete_run(first)

    thread.refresh_from_db()
    assert checkpoint_rows(thread.id) == 0
    assert thread.values in (None, {})


def test_an_earlier_run_is_deleted_and_the_newest_state_stays(
    here: Here, make: Callable[..., Run], thread: Thread, tmp_path: Path
) -> None:
    (tmp_path / "go").touch()
    here.execute(first := make())
    here.execute(make("fails"))

    services.delete_run(first)

    thread.refresh_from_db()
    assert (thread.status, thread.error["error"]) == ("error", "ValueError")
    assert get_state(thread).values["log"] == ["one", "two", "three", "one"]


def test_a_run_that_is_deleted_leaves_nothing_for_the_next_to_go_on_from(
    here: Here, make: Callable[..., Run], thread: Thread, tmp_path: Path
) -> None:
    run = make(durability="sync")
    done = here.start(run)
    wait_for(lambda: begun(tmp_path) == ["one", "two"])

    services.delete_run(run)

    assert checkpoint_rows(thread.id) == 0
    (tmp_path / "go").touch()
    assert done.result() is None
    assert checkpoint_rows(thread.id) == 0


@pytest.mark.parametrize(
    ("action", "log", "status"),
    [("interrupt", ["one"], "interrupted"), ("rollback", [], "idle")],
)
def test_a_run_is_cancelled_between_two_attempts(
    here: Here,
    make: Callable[..., Run],
    thread: Thread,
    tmp_path: Path,
    action: str,
    log: list[str],
    status: str,
) -> None:
    run = make()
    done = here.start(run)
    wait_for(lambda: begun(tmp_path) == ["one", "two"])
    here.stop(run, HAND_BACK)
    done.result()

    assert services.cancel_run(run, action)
    here.execute(run)

    thread.refresh_from_db()
    assert begun(tmp_path) == ["one", "two"]
    assert (thread.status, get_state(thread).values.get("log", [])) == (status, log)
    assert [one.status for one in Run.objects.all()] == ["interrupted"][: len(log)]


def test_a_thread_deleted_during_its_run_stays_deleted(
    here: Here, make: Callable[..., Run], thread: Thread, tmp_path: Path
) -> None:
    done = here.start(make())
    wait_for(lambda: begun(tmp_path) == ["one", "two"])

    assert delete_threads(Thread.objects.filter(pk=thread.id)) == 1
    (tmp_path / "go").touch()

    assert done.result() is None
    assert not Thread.objects.exists()
    assert not Run.objects.exists()
    assert checkpoint_rows(thread.id) == 0
    assert events.newest_id(thread.id) == (0, 0)
