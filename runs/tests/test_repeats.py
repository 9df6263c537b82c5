"""Runs that operators start after another one, executed here."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest
from django.db import connection

from spool.runs.models import Run
from spool.runs.repeats import (
    NotRepeatable,
    answer_interrupt,
    continue_thread,
    repeat_from_its_start,
    repeat_on_new_thread,
)
from spool.runs.tests.executing import Here
from spool.threads.models import Thread
from spool.threads.state import get_state

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("agents"),
]
MakeRun = Callable[..., Run]


@pytest.fixture
def second(here: Here, make: MakeRun, tmp_path: Path) -> Run:
    """The second run of a thread; both have ended."""
    (tmp_path / "go").touch()
    runs = [make(metadata={"team": "red"}), make()]
    for run in runs:
        here.execute(run)
    runs[1].refresh_from_db()
    return runs[1]


def log_of(thread: Thread) -> list[str]:
    thread.refresh_from_db()
    values: list[str] = get_state(thread).values["log"]
    return values


def test_a_run_is_repeated_on_a_new_thread(
    here: Here, second: Run, thread: Thread
) -> None:
    again = repeat_on_new_thread(second)
    here.execute(again)

    fresh = Thread.objects.get(pk=again.thread_id)
    assert fresh.pk != thread.pk
    assert (fresh.owner, fresh.values["log"]) == ("alice", ["one", "two", "three"])
    assert fresh.metadata["graph_id"] == "steps"
    assert again.kwargs["input"] == second.kwargs["input"]
    assert len(log_of(thread)) == 6


def test_a_run_is_repeated_from_where_it_began(
    here: Here, second: Run, thread: Thread
) -> None:
    again = repeat_from_its_start(second)
    here.execute(again)

    thread.refresh_from_db()
    again.refresh_from_db()
    assert again.status == "success"
    # The state after the first run, and then that of the second run again.
    assert log_of(thread) == thread.values["log"] == ["one", "two", "three"] * 2


def test_a_run_that_began_on_an_empty_thread_is_repeated_there(
    here: Here, make: MakeRun, thread: Thread, tmp_path: Path
) -> None:
    (tmp_path / "go").touch()
    first = make()
    here.execute(first)

    again = repeat_from_its_start(first)
    here.execute(again)
    once_more = repeat_from_its_start(again)
    here.execute(once_more)

    once_more.refresh_from_db()
    assert once_more.status == "success"
    assert log_of(thread) == ["one", "two", "three"]


def test_a_run_that_saved_only_its_end_can_not_be_repeated_there(
    here: Here, make: MakeRun, tmp_path: Path
) -> None:
    (tmp_path / "go").touch()
    first = make(durability="exit")
    here.execute(first)

    with pytest.raises(NotRepeatable, match="new thread"):
        repeat_from_its_start(first)


def test_a_busy_thread_starts_nothing(second: Run, make: MakeRun) -> None:
    make()

    with pytest.raises(NotRepeatable, match="busy"):
        repeat_from_its_start(second)
    assert Run.objects.count() == 3


def test_an_interrupt_is_answered(
    here: Here, make: MakeRun, thread: Thread, tmp_path: Path
) -> None:
    (tmp_path / "go").touch()
    here.execute(make("asks_inside"))
    thread.refresh_from_db()
    [[waiting]] = (thread.ordered_interrupts or {}).values()

    here.execute(answer_interrupt(thread, "that one", waiting["id"]))

    thread.refresh_from_db()
    assert thread.status == "idle"
    assert log_of(thread) == ["that one", "two"]


def test_a_thread_that_stopped_at_a_breakpoint_is_continued(
    here: Here, make: MakeRun, thread: Thread, tmp_path: Path
) -> None:
    (tmp_path / "go").touch()
    here.execute(make(interrupt_before=["two"]))
    thread.refresh_from_db()
    assert (thread.status, thread.interrupts) == ("interrupted", {})

    here.execute(continue_thread(thread))

    assert log_of(thread) == ["one", "two", "three"]


def test_of_two_answers_at_once_one_is_taken(
    here: Here, make: MakeRun, thread: Thread, tmp_path: Path
) -> None:
    here.execute(make("asks_inside"))
    thread.refresh_from_db()
    barrier = Barrier(2)

    def answer(text: str) -> str:
        barrier.wait()
        try:
            answer_interrupt(thread, text, None)
        except NotRepeatable:
            return "refused"
        finally:
            connection.close()
        return "taken"

    with ThreadPoolExecutor() as pool:
        assert sorted(pool.map(answer, ["a", "b"])) == ["refused", "taken"]
    assert Run.objects.count() == 2


def test_a_thread_without_runs_can_not_be_answered(thread: Thread) -> None:
    with pytest.raises(NotRepeatable, match="No run"):
        answer_interrupt(thread, "x", None)
