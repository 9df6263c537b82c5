"""The outcomes of runs, executed here, on Postgres and Redis, without Celery."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.db import connection

from spool.access.policy import EVERYTHING
from spool.database.ids import uuid7
from spool.database.pool import Pool
from spool.runs import lifecycle
from spool.runs.lifecycle import Claim, Ended, Outcome
from spool.runs.models import Run
from spool.runs.streaming import events
from spool.runs.tests.executing import Here, checkpoint_rows, published
from spool.runs.worker.failures import described
from spool.tests.live import WAIT_SECS
from spool.threads.models import Thread
from spool.threads.state import get_history, get_state
from spool.threads.updates import state_update, update_state

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("agents"),
]


def test_a_finished_run_leaves_state_events_and_an_idle_thread(
    here: Here, make: Callable[..., Run], thread: Thread, tmp_path: Path
) -> None:
    (tmp_path / "go").touch()
    run = make(stream_mode=["updates"])

    assert here.execute(run) is not None

    run.refresh_from_db()
    thread.refresh_from_db()
    assert run.status == "success"
    assert (thread.status, thread.values["log"]) == ("idle", ["one", "two", "three"])
    assert [name for name, _ in published(thread.id)] == [
        "metadata",
        *["updates"] * 3,
        "end",
    ]


@pytest.fixture
def told_at_the_end(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The events that were published when a run's end was written to Postgres."""
    told: list[str] = []
    end = lifecycle.end

    async def noting_end(
        pool: Pool, held: Claim, outcome: Outcome, *written: Any, **more: Any
    ) -> Ended | None:
        told.extend(name for name, _ in published(held.thread_id))
        events.redis_client().client_unpause()
        return await end(pool, held, outcome, *written, **more)

    monkeypatch.setattr("spool.runs.lifecycle.end", noting_end)
    return told


def test_the_last_events_of_a_run_are_written_with_its_end(
    here: Here,
    make: Callable[..., Run],
    thread: Thread,
    tmp_path: Path,
    told_at_the_end: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "go").touch()
    monkeypatch.setattr("spool.runs.streaming.writer.LINGER", 60)

    here.execute(make(stream_mode=["updates"]))

    told = [name for name, _ in published(thread.id)]
    assert told == ["metadata", *["updates"] * 3, "end"]
    assert len(told_at_the_end) < 4
    thread.refresh_from_db()
    assert events.newest_seq(thread.id) == thread.event_seq > 4


def test_held_events_are_written_while_the_end_takes_long(
    here: Here,
    make: Callable[..., Run],
    thread: Thread,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "go").touch()
    monkeypatch.setattr("spool.runs.streaming.writer.LINGER", 60)
    end = lifecycle.end

    async def late_end(*args: Any, **more: Any) -> Any:
        async with asyncio.timeout(WAIT_SECS):
            while [name for name, _ in published(thread.id)][-1:] != ["updates"]:
                await asyncio.sleep(0.01)
        return await end(*args, **more)

    monkeypatch.setattr("spool.runs.lifecycle.end", late_end)

    here.execute(make(stream_mode=["updates"]))

    told = [name for name, _ in published(thread.id)]
    assert told == ["metadata", *["updates"] * 3, "end"]


def test_a_redis_that_hangs_keeps_no_run_from_its_end(
    here: Here,
    make: Callable[..., Run],
    thread: Thread,
    tmp_path: Path,
    told_at_the_end: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "go").touch()
    monkeypatch.setattr("spool.runs.streaming.writer.SETTLE_TIMEOUT_SECS", 0.05)
    run = make()

    events.redis_client().client_pause(30_000, all=False)
    here.start(run).result(timeout=WAIT_SECS)

    run.refresh_from_db()
    assert (told_at_the_end, run.status) == ([], "success")
    assert published(thread.id)[-1] == ("end", b'"success"')


def test_a_state_says_whose_run_saved_it(
    here: Here, make: Callable[..., Run], thread: Thread, tmp_path: Path
) -> None:
    (tmp_path / "go").touch()
    whose = {"thread_id": str(thread.id), "langgraph_auth_user_id": "alice"}

    Run.objects.filter(pk=make().pk).update(user={"identity": "alice"})
    here.execute(Run.objects.get())

    [found] = get_history(Thread.objects.get(), limit=1, metadata=whose)
    assert found.metadata is not None
    assert found.metadata["user_id"] == "alice"  # type: ignore[typeddict-item]


def test_a_nodes_exception_is_the_runs_result(
    here: Here, make: Callable[..., Run], thread: Thread
) -> None:
    run = make("fails")

    here.execute(run)

    run.refresh_from_db()
    thread.refresh_from_db()
    assert run.status == thread.status == "error"
    assert run.error == {"error": "ValueError", "message": "boom happened"}
    assert run.attempt == 1  # Not an infrastructure fault, so it is not retried.
    assert [name for name, _ in published(thread.id)][-2:] == ["error", "end"]
    # The results of earlier steps stay.
    assert thread.values["log"] == ["one"]


def test_a_state_that_its_graph_cannot_read_is_shown(
    here: Here, make: Callable[..., Run], thread: Thread
) -> None:
    run = make("unreadable")

    here.execute(run)

    run.refresh_from_db()
    thread.refresh_from_db()
    assert run.status == thread.status == "error"
    assert thread.error == run.error
    assert run.error["error"] == "TypeError"
    assert (thread.values["log"], thread.interrupts) == (["one"], {})


def test_a_node_that_exits_takes_only_its_own_run_with_it(
    here: Here, make: Callable[..., Run], thread: Thread, tmp_path: Path
) -> None:
    (tmp_path / "go").touch()
    run = make("exits")

    here.start(run).result(timeout=WAIT_SECS)
    here.start(after := make()).result(timeout=WAIT_SECS)

    run.refresh_from_db()
    after.refresh_from_db()
    assert (run.status, after.status) == ("error", "success")
    assert run.error == {"error": "SystemExit", "message": "enough"}


def test_a_run_that_takes_too_long_ends_as_timeout(
    here: Here, make: Callable[..., Run], thread: Thread, settings: Any
) -> None:
    settings.BG_JOB_TIMEOUT_SECS = 0.5
    run = make()

    here.execute(run)

    run.refresh_from_db()
    thread.refresh_from_db()
    assert (run.status, thread.status) == ("timeout", "error")
    assert thread.error == {"error": "TimeoutError", "message": ""}


def test_a_stateless_run_leaves_no_checkpoints(
    here: Here, make: Callable[..., Run], tmp_path: Path
) -> None:
    (tmp_path / "go").touch()
    run = make(thread_id=None)

    here.execute(run)

    hidden = Thread.objects.get(pk=run.thread_id)
    assert hidden.discarded_at is not None
    assert not Thread.objects.visible_to(EVERYTHING).filter(pk=hidden.pk).exists()
    assert hidden.values["log"] == ["one", "two", "three"]
    assert checkpoint_rows(run.thread_id) == 0


def test_values_of_any_type_reach_the_row_and_the_stream(
    here: Here, make: Callable[..., Run], thread: Thread
) -> None:
    here.execute(make("awkward", input={}))

    thread.refresh_from_db()
    assert thread.values == {
        "person": {"name": "Ada"},
        "point": {"x": 1},
        "id": "00000000-0000-0000-0000-000000000007",
        "at": "2026-01-02T03:04:05+00:00",
        "colour": "red",
        "raw": base64.b64encode(b"\x00\xff").decode(),
        "text": thread.values["text"],
    }
    assert "\x00" not in thread.values["text"]
    assert thread.values["text"].startswith("nul ")
    assert get_state(thread).values["raw"] == b"\x00\xff"


def test_a_graph_goes_on_with_the_numbers_that_it_had(
    here: Here, make: Callable[..., Run], thread: Thread
) -> None:
    here.execute(make("numbers", input={}))
    thread.refresh_from_db()
    by_client = state_update({"worst": 1.0, "text": "a"}, "fill")
    update_state(thread, [[by_client]])
    here.execute(make("numbers", input=None, command={"resume": "yes"}))

    values = get_state(thread).values
    assert values["seen"] == ["inf", "1e+30"]
    assert values["text"] == "a\ufffd"
    thread.refresh_from_db()
    assert thread.values["best"] is None
    assert thread.values["huge"] == 1e30


def test_secrets_of_a_request_are_not_kept_in_checkpoints(
    here: Here, make: Callable[..., Run], thread: Thread, tmp_path: Path
) -> None:
    (tmp_path / "go").touch()
    run = make(config={"configurable": {"openai_api_key": "sk-secret"}})

    here.execute(run)

    with connection.cursor() as cursor:
        cursor.execute("SELECT metadata::text, checkpoint::text FROM checkpoints")
        rows = cursor.fetchall()
    assert rows
    assert "sk-secret" not in str(rows)


def test_a_clients_thread_id_in_the_config_reaches_no_other_thread(
    here: Here, make: Callable[..., Run], thread: Thread, tmp_path: Path
) -> None:
    (tmp_path / "go").touch()
    other = uuid7()
    run = make(config={"configurable": {"thread_id": str(other)}})

    here.execute(run)

    assert checkpoint_rows(other) == 0
    assert checkpoint_rows(thread.id) > 0


@pytest.mark.parametrize(("durability", "checkpoints"), [("exit", 1), ("async", 5)])
def test_durability_decides_how_many_checkpoints_are_kept(
    here: Here,
    make: Callable[..., Run],
    thread: Thread,
    tmp_path: Path,
    durability: str,
    checkpoints: int,
) -> None:
    (tmp_path / "go").touch()

    here.execute(make(durability=durability))

    thread.refresh_from_db()
    assert len(get_history(thread, limit=10)) == checkpoints


def test_what_a_graph_says_of_a_key_is_not_kept() -> None:
    exc = RuntimeError("401 for Bearer abcdefghij at https://me:hunter2@models.example")

    message = described(exc)["message"]

    assert message == "401 for Bearer *** at https://me:***@models.example"
