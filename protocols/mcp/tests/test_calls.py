from __future__ import annotations

from functools import partial
from typing import Any
from uuid import uuid4

import pytest
from django.conf import LazySettings
from django.db.models.functions import Now
from rest_framework.exceptions import APIException

from spool.access.tests.people import Person
from spool.database.tests.together import at_once
from spool.protocols.mcp import calls
from spool.protocols.mcp.calls import (
    Asking,
    Begin,
    Call,
    Failed,
    Finished,
    NothingOpen,
    Outcome,
    Resume,
    Started,
)
from spool.protocols.mcp.interrupts import RequestState
from spool.protocols.mcp.tests.conftest import Calling
from spool.runs.models import Run
from spool.runs.services import ThreadBusy
from spool.threads.models import Thread
from spool.threads.sweeping import sweep
from spool.web.errors import NotFound, Unprocessable

pytestmark = pytest.mark.django_db(transaction=True)

ID = "0" * 32
OPEN = {"task": [{"id": ID, "value": "approve?"}]}
YES = {ID: {"response": "yes"}}


def end(started: Started, run_status: str = "success", **thread: Any) -> None:
    """End the run, as a worker does."""
    changes = {"status": "idle", "resting_status": "idle", **thread}
    Run.objects.filter(pk=started.run_id).update(status=run_status, ended_at=Now())
    Thread.objects.filter(pk=started.thread_id).update(**changes)


def interrupt(started: Started) -> None:
    stopped = {"status": "interrupted", "resting_status": "interrupted"}
    end(started, interrupts=OPEN, **stopped)


def asked(call: Call, *ids: str) -> tuple[Started, RequestState]:
    """A call whose run was interrupted."""
    started = calls.start(call, Begin(None, {"topic": "tea"}))
    interrupt(started)
    state = RequestState(started.thread_id, call.tool.assistant.id, ids or (ID,))
    return started, state


# --- Beginning ------------------------------------------------------------------------
def test_a_call_has_a_thread_of_its_own(alice: Person, calling: Calling) -> None:
    started = calls.start(calling(alice), Begin(None, {"topic": "tea"}))

    thread = Thread.objects.get(pk=started.thread_id)
    run = Run.objects.get(pk=started.run_id)
    assert started.owns_thread
    assert thread.owner == run.owner == "alice"
    assert thread.ttl_minutes == 60
    assert thread.ttl_strategy == "delete"
    assert thread.expires_at is not None
    assert not run.is_temporary
    assert run.kwargs["input"] == {"topic": "tea"}
    assert run.kwargs["stream_mode"] == ["custom"]


def test_a_thread_whose_process_died_is_swept(
    alice: Person, calling: Calling, settings: LazySettings
) -> None:
    started, _ = asked(calling(alice))
    Thread.objects.filter(pk=started.thread_id).update(expires_at=Now())

    sweep()

    assert not Thread.objects.filter(pk=started.thread_id).exists()


def test_a_thread_of_another_owner_looks_missing(
    alice: Person, bob: Person, calling: Calling
) -> None:
    started, state = asked(calling(alice))
    attempts = [
        partial(calls.start, calling(bob), Begin(started.thread_id, {})),
        partial(calls.start, calling(bob), Resume(started.thread_id, "mine")),
        partial(calls.answer, calling(bob), state, YES),
    ]

    for attempt in attempts:
        with pytest.raises(APIException, match=r"not found") as raised:
            attempt()
        assert raised.value.status_code == 404
    with pytest.raises(NothingOpen):
        calls.find_open(calling(bob), state)
    with pytest.raises(NothingOpen):
        calls.give_up(calling(bob), state)
    assert Run.objects.count() == 1


# --- Answering ------------------------------------------------------------------------
def test_of_many_answers_at_once_one_is_taken(alice: Person, calling: Calling) -> None:
    call = calling(alice)
    _, state = asked(call)

    def attempt() -> Started | None:
        try:
            return calls.answer(calling(alice), state, YES)
        except (ThreadBusy, NothingOpen):
            return None

    taken = [one for one in at_once([attempt] * 8) if one]

    assert len(taken) == 1
    assert Run.objects.count() == 2
    command = Run.objects.get(pk=taken[0].run_id).kwargs["command"]
    assert command == {"resume": {ID: "yes"}}
    assert taken[0].owns_thread
    end(taken[0], interrupts={})
    with pytest.raises(NothingOpen):
        calls.answer(call, state, YES)


@pytest.mark.parametrize(
    ("ids", "contents", "error"),
    [
        ((ID, "f" * 32), {**YES, "f" * 32: {}}, NothingOpen),
        ((ID, "f" * 32), YES, Unprocessable),
        ((ID,), {}, Unprocessable),
    ],
)
def test_what_is_not_open_is_not_answered(
    alice: Person, calling: Calling, ids: Any, contents: Any, error: Any
) -> None:
    call = calling(alice)
    _, state = asked(call, *ids)

    with pytest.raises(error):
        calls.answer(call, state, contents)

    assert Run.objects.count() == 1


def test_a_state_is_of_its_tool(alice: Person, calling: Calling) -> None:
    _, state = asked(calling(alice))

    with pytest.raises(Unprocessable, match="it belongs to another tool"):
        calls.answer(calling(alice, "par"), state, YES)


def test_a_deleted_thread_is_not_answered(alice: Person, calling: Calling) -> None:
    call = calling(alice)
    state = RequestState(uuid4(), call.tool.assistant.id, (ID,))

    with pytest.raises(NotFound):
        calls.answer(call, state, YES)


def test_what_was_asked_can_be_seen_and_given_up(
    alice: Person, calling: Calling
) -> None:
    call = calling(alice)
    started, state = asked(call)

    assert calls.find_open(call, state).output == {
        "thread_id": str(started.thread_id),
        "interrupts": OPEN["task"],
    }
    calls.give_up(call, state)
    assert not Thread.objects.exists()


# --- Ending ---------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ("success", Finished({"topic": "tea"})),
        ("timeout", Failed("The run took too long.")),
        ("interrupted", Failed("The run was cancelled.")),
    ],
)
def test_the_outcome_is_the_runs(
    alice: Person, calling: Calling, status: str, expected: Outcome
) -> None:
    call = calling(alice)
    started = calls.start(call, Begin(None, {"topic": "tea"}))
    end(started, status, values={"topic": "tea", "not in the schema": 1})

    assert calls.find_outcome(call, started) == expected


def test_an_error_is_told_without_its_traceback(
    alice: Person, calling: Calling
) -> None:
    call = calling(alice)
    started = calls.start(call, Begin(None, {}))
    error = {"error": "ValueError", "message": "boom"}
    Run.objects.filter(pk=started.run_id).update(status="error", error=error)

    assert calls.find_outcome(call, started) == Failed("ValueError: boom")


def test_a_run_that_stopped_asks(alice: Person, calling: Calling) -> None:
    call = calling(alice)
    started, _ = asked(call)

    found = calls.find_outcome(call, started)

    assert isinstance(found, Asking)
    assert found.thread_id == started.thread_id


def test_a_deleted_run_has_failed(alice: Person, calling: Calling) -> None:
    call = calling(alice)
    started = calls.start(call, Begin(None, {}))
    calls.cancel(started)

    assert calls.find_outcome(call, started) == Failed("The run was deleted.")
    assert not Thread.objects.exists()


def test_a_thread_at_work_for_another_is_left(alice: Person, calling: Calling) -> None:
    call = calling(alice)
    started, _ = asked(call)
    calls.start(call, Begin(started.thread_id, {"topic": "more"}))

    calls.clean_up(started)

    assert Thread.objects.get().status == "busy"


def test_a_cancelled_call_stops_its_run_and_keeps_the_callers_thread(
    alice: Person, calling: Calling
) -> None:
    thread = Thread.objects.create(metadata={"owner": "alice"})
    started = calls.start(calling(alice), Begin(thread.id, {}))

    calls.cancel(started)

    assert Run.objects.get().status == "interrupted"
    assert Thread.objects.get().id == thread.id
