from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest

from spool.access.tests.people import Client
from spool.assistants.services import register_system_assistants
from spool.runs import lifecycle
from spool.runs.lifecycle import Outcome
from spool.runs.models import Run
from spool.runs.tests.conftest import ECHO
from spool.runs.views import _canceller
from spool.threads.models import Thread

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(("action", "rows"), [("interrupt", 1), ("rollback", 0)])
def test_a_pending_run_is_cancelled_at_once(
    alice_client: Client, run: Run, path: str, thread: Thread, action: str, rows: int
) -> None:
    response = alice_client.call("post", f"{path}/{run.id}/cancel?action={action}")

    thread.refresh_from_db()
    assert (response.status_code, response.content) == (202, b"")
    assert Run.objects.filter(status="interrupted").count() == rows
    assert Run.objects.count() == rows
    assert thread.status == "idle"


def test_a_running_run_is_stopped_by_its_worker(
    alice_client: Client, run: Run, path: str
) -> None:
    Run.objects.update(status="running")

    response = alice_client.call("post", f"{path}/{run.id}/cancel")

    run.refresh_from_db()
    assert response.status_code == 202
    assert (run.status, run.cancel_action) == ("running", "interrupt")


def test_a_cancelled_run_says_why(
    alice_client: Client,
    run: Run,
    path: str,
    caplog: pytest.LogCaptureFixture,
    django_capture_on_commit_callbacks: Any,
) -> None:
    Run.objects.update(status="running")
    before = alice_client.call("get", f"{path}/{run.id}").json()

    with caplog.at_level("INFO"), django_capture_on_commit_callbacks(execute=True):
        alice_client.call("post", f"{path}/{run.id}/cancel")
    after = alice_client.call("get", f"{path}/{run.id}").json()
    [listed] = alice_client.call("get", f"{path}?select=cancel_reason").json()

    assert "cancel_reason" not in before
    assert after["cancel_reason"] == listed["cancel_reason"] == "cancelled by the API"
    assert f"run {run.id}: stopped (interrupt): cancelled by the API" in caplog.text


@pytest.mark.parametrize("status", ["pending", "running"])
def test_a_superseded_run_says_by_which(
    alice_client: Client, run: Run, path: str, status: str
) -> None:
    Run.objects.update(status=status)

    body = {**ECHO, "multitask_strategy": "interrupt"}
    newer = alice_client.call("post", path, body).json()["run_id"]

    run.refresh_from_db()
    assert run.cancel_reason == f"superseded by run {newer}"


def test_a_run_that_its_client_left_says_so(alice_client: Client, run: Run) -> None:
    canceller = _canceller(run, wanted=True)

    assert canceller()

    run.refresh_from_db()
    assert (run.status, run.cancel_reason) == ("interrupted", "its client went away")


def test_a_run_whose_thread_is_deleted_is_in_the_log(
    alice_client: Client, run: Run, thread: Thread, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO"):
        alice_client.call("delete", f"/threads/{thread.id}")

    assert f"run {run.id}: stopped (deleted): its thread was deleted" in caplog.text


def test_what_can_not_be_cancelled(
    alice_client: Client, bob_client: Client, run: Run, path: str
) -> None:
    theirs = bob_client.call("post", f"{path}/{run.id}/cancel")
    unknown = alice_client.call("post", f"{path}/{uuid4()}/cancel")
    odd = alice_client.call("post", f"{path}/{run.id}/cancel?action=explode")
    assert lifecycle.end_here(run, Outcome("success"))
    over = alice_client.call("post", f"{path}/{run.id}/cancel")

    assert (theirs.status_code, unknown.status_code) == (404, 404)
    assert odd.status_code == 422
    assert over.status_code == 404
    assert over.json()["detail"].startswith("No matching runs to cancel.")
    run.refresh_from_db()
    assert run.status == "success"


def test_many_runs_are_cancelled_by_id(
    alice_client: Client, path: str, thread: Thread
) -> None:
    made = [alice_client.call("post", path, ECHO).json()["run_id"] for _ in range(3)]
    body = {"thread_id": str(thread.id), "run_ids": made[:2]}

    response = alice_client.call("post", "/runs/cancel", body)

    assert response.status_code == 204
    left = Run.objects.pending().get()
    assert str(left.id) == made[2]


@pytest.mark.parametrize("status", ["pending", "all"])
def test_many_runs_are_cancelled_by_status(
    alice_client: Client, bob_client: Client, path: str, status: str
) -> None:
    for _ in range(3):
        alice_client.call("post", path, ECHO)
    bobs = bob_client.call("post", "/runs", ECHO).json()["run_id"]

    response = alice_client.call("post", "/runs/cancel", {"status": status})

    assert response.status_code == 204
    assert str(Run.objects.pending().get().id) == bobs


def test_a_bulk_cancel_that_finds_nothing(
    alice_client: Client, bob_client: Client, run: Run, thread: Thread
) -> None:
    body = {"thread_id": str(thread.id), "run_ids": [str(run.id)]}

    nothing = alice_client.call("post", "/runs/cancel", {"status": "running"})
    theirs = bob_client.call("post", "/runs/cancel", body)

    assert (nothing.status_code, theirs.status_code) == (404, 404)
    run.refresh_from_db()
    assert run.status == "pending"


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"status": "success"},
        {"thread_id": str(uuid4())},
        {"run_ids": [str(uuid4())]},
        {"run_ids": ["junk"], "thread_id": str(uuid4())},
        {"run_ids": [5], "thread_id": str(uuid4())},
        {"status": "all", "run_ids": [str(uuid4())], "thread_id": str(uuid4())},
    ],
)
def test_a_bulk_cancel_names_runs_or_a_status(alice_client: Client, body: Any) -> None:
    assert alice_client.call("post", "/runs/cancel", body).status_code == 422


def test_the_runs_of_a_deleted_assistant_are_stopped_and_say_why(
    alice_client: Client,
) -> None:
    register_system_assistants()
    made = alice_client.call("post", "/assistants", {"graph_id": "echo"}).json()
    body = {**ECHO, "assistant_id": made["assistant_id"], "on_completion": "keep"}
    runs = [alice_client.call("post", "/runs", body).json() for _ in range(2)]
    other = alice_client.call("post", "/runs", {**ECHO, "on_completion": "keep"}).json()
    Run.objects.filter(pk=runs[0]["run_id"]).update(status="running")

    deleted = alice_client.call("delete", f"/assistants/{made['assistant_id']}")

    assert deleted.status_code == 204
    running, pending = (Run.objects.get(pk=run["run_id"]) for run in runs)
    assert (running.status, running.cancel_action) == ("running", "interrupt")
    assert pending.status == "interrupted"
    assert {running.cancel_reason, pending.cancel_reason} == {Run.ASSISTANT_DELETED}
    assert Run.objects.get(pk=other["run_id"]).status == "pending"
    assert Thread.objects.count() == 3
