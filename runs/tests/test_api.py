"""The endpoints of runs, without a worker: nothing here gets further than `pending`."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID, uuid4

import pytest

from spool.access.tests.people import Client, streamed
from spool.assistants.services import system_assistant_id
from spool.runs import lifecycle
from spool.runs.lifecycle import Outcome
from spool.runs.models import Run
from spool.runs.streaming import events, run_stream
from spool.runs.streaming.writer import publish_end
from spool.runs.tests.conftest import ECHO
from spool.threads.models import Thread

pytestmark = pytest.mark.django_db


# --- Create -----------------------------------------------------------------------
def test_create_answers_with_a_pending_run(
    alice_client: Client, path: str, thread: Thread
) -> None:
    body = {**ECHO, "input": {"a": 1}, "metadata": {"kind": "x"}}

    response = alice_client.call("post", path, body)

    assert response.status_code == 200
    run = response.json()
    request_id = response["X-Request-ID"]
    assert response["Content-Location"] == f"{path}/{run['run_id']}"
    assert "Location" not in response
    assert UUID(run["run_id"]).version == 7
    request_id = response["X-Request-ID"]
    assistant_id = str(system_assistant_id("echo"))
    assert run == {
        "run_id": run["run_id"],
        "thread_id": str(thread.id),
        "assistant_id": assistant_id,
        "metadata": {
            "created_by": "system",
            "owner": "alice",
            "graph_id": "echo",
            "assistant_id": assistant_id,
            "kind": "x",
        },
        "status": "pending",
        "kwargs": {
            "input": {"a": 1},
            "command": None,
            "config": {"configurable": {"langgraph_request_id": request_id}},
            "context": {},
            "stream_mode": ["values"],
            "interrupt_before": None,
            "interrupt_after": None,
            "webhook": None,
            "feedback_keys": None,
            "temporary": False,
            "subgraphs": False,
            "resumable": False,
            "checkpoint_during": True,
            "durability": "async",
        },
        "multitask_strategy": "enqueue",
        "created_at": run["created_at"],
        "updated_at": run["updated_at"],
        "langsmith_session_name": None,
    }
    thread.refresh_from_db()
    assert thread.status == "busy"
    assert thread.metadata["graph_id"] == "echo"


def test_a_stateless_run_has_a_thread_of_its_own(alice_client: Client) -> None:
    response = alice_client.call("post", "/runs", ECHO)

    run = response.json()
    assert response["Content-Location"] == f"/runs/{run['run_id']}"
    assert run["kwargs"]["temporary"] is True
    assert Thread.objects.get(pk=run["thread_id"]).owner == "alice"


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({}, "assistant_id"),
        ({"assistant_id": "unknown"}, "Invalid assistant"),
        ({**ECHO, "stream_mode": "junk"}, "stream_mode"),
        ({**ECHO, "config": {"tags": "one"}}, "tags"),
        ({**ECHO, "config": {"recursion_limit": 0}}, "recursion_limit"),
        ({**ECHO, "config": {"recursion_limit": True}}, "recursion_limit"),
        ({**ECHO, "config": {"configurable": []}}, "configurable"),
        ({**ECHO, "command": {"goto": 1}}, "command"),
        ({**ECHO, "checkpoint": {"checkpoint_id": "junk"}}, "Invalid checkpoint ID"),
        ({**ECHO, "checkpoint_id": "junk"}, "Invalid checkpoint ID"),
        ({**ECHO, "checkpoint": {"checkpoint_map": 1}}, "checkpoint_map"),
        ({**ECHO, "checkpoint": {"thread_id": str(uuid4())}}, "another thread"),
        ({**ECHO, "after_seconds": -1}, "after_seconds"),
        ({**ECHO, "multitask_strategy": "hope"}, "multitask_strategy"),
        ([], ""),
    ],
)
def test_create_says_what_is_wrong(
    alice_client: Client, path: str, body: Any, named: str
) -> None:
    response = alice_client.call("post", path, body)

    assert response.status_code == 422
    assert named in response.json()["detail"]
    assert not Run.objects.exists()


@pytest.mark.parametrize("end", ["", "/wait", "/stream"])
def test_create_hides_other_owners_threads(
    bob_client: Client, path: str, end: str
) -> None:
    response = bob_client.call("post", f"{path}{end}", ECHO)

    assert response.status_code == 404
    assert response.json()["detail"] == "Thread or assistant not found."
    assert not Run.objects.exists()


def test_if_not_exists_takes_no_thread_of_others(
    bob_client: Client, path: str, thread: Thread
) -> None:
    response = bob_client.call("post", path, {**ECHO, "if_not_exists": "create"})

    thread.refresh_from_db()
    assert response.status_code == 404
    assert thread.metadata == {"owner": "alice"}
    assert not Run.objects.exists()


def test_create_on_what_is_no_thread(alice_client: Client) -> None:
    bad = alice_client.call("post", "/threads/junk/runs", ECHO)
    missing = alice_client.call("post", f"/threads/{uuid4()}/runs", ECHO)

    assert (bad.status_code, missing.status_code) == (422, 404)


@pytest.mark.parametrize("end", ["", "/wait", "/stream"])
def test_reject_refuses_on_a_busy_thread(
    alice_client: Client, run: Run, path: str, end: str
) -> None:
    body = {**ECHO, "multitask_strategy": "reject"}

    response = alice_client.call("post", f"{path}{end}", body)

    assert response.status_code == 409
    assert response.json()["detail"].startswith("Thread is already running a task.")


def test_a_batch_makes_all_its_runs(alice_client: Client) -> None:
    response = alice_client.call(
        "post", "/runs/batch", [ECHO, {**ECHO, "input": {"a": 1}}]
    )

    runs = response.json()
    assert [run["kwargs"]["input"] for run in runs] == [None, {"a": 1}]
    assert len({run["thread_id"] for run in runs}) == 2


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ([], 422),
        (ECHO, 422),
        ([ECHO, {}], 422),
        ([ECHO, 7], 422),
        ("x", 422),
        ([ECHO, {"assistant_id": "unknown"}], 422),
        ([ECHO, {"assistant_id": str(uuid4())}], 404),
        ([ECHO, {**ECHO, "command": {"resume": 1}}], 400),
        ([ECHO, {**ECHO, "checkpoint_id": str(uuid4())}], 404),
    ],
)
def test_a_bad_batch_makes_none(alice_client: Client, body: Any, status: int) -> None:
    response = alice_client.call("post", "/runs/batch", body)

    assert response.status_code == status
    assert not Run.objects.exists()
    assert not Thread.objects.exists()


# --- Read -------------------------------------------------------------------------
def test_runs_are_listed_newest_first(alice_client: Client, path: str) -> None:
    made = [alice_client.call("post", path, ECHO).json()["run_id"] for _ in range(3)]

    def listed(query: str) -> list[str]:
        response = alice_client.call("get", f"{path}?{query}")
        assert response.status_code == 200
        return [run["run_id"] for run in response.json()]

    assert listed("") == made[::-1]
    assert listed("limit=2") == made[:0:-1]
    assert listed("limit=2&offset=2") == made[:1]
    assert listed("limit=0") == []
    # A limit above the maximum is reduced to it.
    assert listed("limit=1001") == made[::-1]
    assert listed("status=pending") == made[::-1]
    assert listed("status=success") == listed("status=junk") == []
    assert alice_client.call("get", f"{path}?limit=many").status_code == 400
    assert alice_client.call("get", f"{path}?offset={10**30}").status_code == 422


def test_a_list_gives_the_fields_that_are_selected(
    alice_client: Client, run: Run, path: str
) -> None:
    repeated = alice_client.call("get", f"{path}?select=run_id&select=status")
    as_json = alice_client.call("get", f'{path}?select=["run_id","status"]')
    unknown = alice_client.call("get", f"{path}?select=secret")

    expected = [{"run_id": str(run.id), "status": "pending"}]
    assert repeated.json() == as_json.json() == expected
    assert unknown.status_code == 422


def test_the_list_of_another_owners_thread_is_not_found(
    alice_client: Client, bob_client: Client, run: Run, path: str
) -> None:
    theirs, missing = (
        bob_client.call("get", path),
        alice_client.call("get", f"/threads/{uuid4()}/runs"),
    )

    assert (theirs.status_code, missing.status_code) == (404, 404)


def test_the_list_asks_once_however_many_there_are(
    alice_client: Client, path: str, django_assert_num_queries: Any
) -> None:
    for _ in range(5):
        alice_client.call("post", path, ECHO)

    with django_assert_num_queries(2):
        alice_client.call("get", path)


def test_a_run_is_read(alice_client: Client, run: Run, path: str) -> None:
    response = alice_client.call("get", f"{path}/{run.id}")
    without_thread = alice_client.call("get", f"/runs/{run.id}")

    assert response.json()["run_id"] == str(run.id)
    assert without_thread.json() == response.json()


@pytest.mark.parametrize("method", ["get", "delete"])
def test_a_run_that_is_not_there(
    alice_client: Client, bob_client: Client, run: Run, path: str, method: str
) -> None:
    other = Thread.objects.create(metadata={"owner": "alice"})

    assert alice_client.call(method, f"{path}/{uuid4()}").status_code == 404
    assert alice_client.call(method, f"{path}/junk").status_code == 422
    assert (
        alice_client.call(method, f"/threads/{other.id}/runs/{run.id}").status_code
        == 404
    )
    assert bob_client.call(method, f"{path}/{run.id}").status_code == 404
    assert Run.objects.filter(pk=run.pk).exists()


# --- Delete -----------------------------------------------------------------------
def test_a_run_is_deleted(
    alice_client: Client, run: Run, path: str, thread: Thread
) -> None:
    first = alice_client.call("delete", f"{path}/{run.id}")
    second = alice_client.call("delete", f"{path}/{run.id}")

    thread.refresh_from_db()
    assert (first.status_code, second.status_code) == (204, 404)
    assert second.json()["detail"] == "Run not found"
    assert not Run.objects.exists()
    assert thread.status == "idle"


# --- Join -------------------------------------------------------------------------
def test_join_and_stream_hide_other_owners_runs(
    alice_client: Client, bob_client: Client, run: Run, path: str
) -> None:
    joined = streamed(bob_client.call("get", f"{path}/{run.id}/join"))
    watched = streamed(bob_client.call("get", f"{path}/{run.id}/stream"))

    assert joined == streamed(alice_client.call("get", f"{path}/{uuid4()}/join"))
    assert watched == streamed(alice_client.call("get", f"{path}/{uuid4()}/stream"))
    error = {"error": "HTTPException", "message": "404: Run not found"}
    assert json.loads(joined) == {"__error__": error}
    assert watched.startswith("event: error\r\ndata: ")
    assert json.dumps(error, separators=(",", ":")) in watched


@pytest.mark.parametrize("last_event_id", ["junk", f"{2**64}-0", f"0-{2**64}"])
def test_a_last_event_id_that_is_none_gives_nothing(
    alice_client: Client, run: Run, path: str, last_event_id: str
) -> None:
    response = alice_client.get(
        f"{path}/{run.id}/stream",
        HTTP_LAST_EVENT_ID=last_event_id,
    )

    assert (response.status_code, streamed(response)) == (200, "")


def test_an_empty_last_event_id_is_none(
    alice_client: Client, run: Run, path: str
) -> None:
    assert lifecycle.end_here(run, Outcome("success"))

    response = alice_client.get(f"{path}/{run.id}/stream", HTTP_LAST_EVENT_ID="")

    assert streamed(response) == "event: end\r\ndata: null\r\n\r\n"


def test_join_refuses_an_answer_that_is_neither_yes_nor_no(
    alice_client: Client, run: Run, path: str
) -> None:
    response = alice_client.call(
        "get", f"{path}/{run.id}/join?cancel_on_disconnect=perhaps"
    )

    assert response.status_code == 422


@pytest.mark.parametrize(("kind", "reads"), [("stream", "sse"), ("wait", "wait")])
def test_a_new_run_reads_back_nothing_of_earlier_ones(
    alice_client: Client,
    run: Run,
    path: str,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
    reads: str,
) -> None:
    """A busy thread keeps thousands of events, which each viewer would have to read."""
    publish_end(run.thread_id, run.id, "success", generation=0)
    seen: list[run_stream.RunStream] = []

    def see(stream: run_stream.RunStream) -> Any:
        seen.append(stream)
        return run_stream.nothing()

    monkeypatch.setattr(run_stream, reads, see)

    alice_client.call("post", f"{path}/{kind}", ECHO)

    assert [stream.after for stream in seen] == [events.newest_id(run.thread_id)]


def test_a_list_of_runs_is_capped(alice_client: Client, path: str) -> None:
    assert alice_client.call("get", f"{path}?limit=100000").status_code == 200
