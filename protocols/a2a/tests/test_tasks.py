"""A task's state is that of its newest run."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.db import connection

from spool.protocols.a2a.tasks import TaskRef, build_task, edges_for, task_after
from spool.protocols.a2a.tests.calling import Caller, Failed, execute_all, newest_run
from spool.runs.models import Run
from spool.runs.services import cancel_run, delete_run
from spool.runs.tests.executing import Here
from spool.threads.models import Thread

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.mark.parametrize(
    ("columns", "state"),
    [
        ({"status": "pending"}, "SUBMITTED"),
        ({"status": "pending", "attempt": 1}, "WORKING"),
        ({"status": "running", "attempt": 1}, "WORKING"),
        ({"status": "success"}, "COMPLETED"),
        ({"status": "error", "error": {"error": "E", "message": "no"}}, "FAILED"),
        ({"status": "timeout"}, "FAILED"),
        ({"status": "interrupted"}, "CANCELED"),
    ],
)
def test_states_are_those_of_runs(
    alice_calls: Caller, columns: dict[str, Any], state: str
) -> None:
    task = alice_calls.send("hi")
    Run.objects.filter(pk=newest_run(task["id"]).pk).update(**columns)

    assert alice_calls.get(task["id"])["status"]["state"] == f"TASK_STATE_{state}"
    listed = alice_calls.call("ListTasks", status=f"TASK_STATE_{state}")
    assert [one["id"] for one in listed["tasks"]] == [task["id"]]
    other = alice_calls.call("ListTasks", status="TASK_STATE_REJECTED")
    assert other["tasks"] == []


def test_a_question_that_was_passed_over_can_not_be_answered(
    alice_calls: Caller, here: Here
) -> None:
    first = alice_calls.send("one")
    execute_all(here)
    second = alice_calls.send("two", contextId=first["contextId"])
    execute_all(here)

    waiting = alice_calls.call("ListTasks", status="TASK_STATE_INPUT_REQUIRED")
    assert [one["id"] for one in waiting["tasks"]] == [second["id"]]
    with pytest.raises(Failed, match="has ended"):
        alice_calls.send("yes", taskId=first["id"])


def test_a_run_that_never_began_leaves_the_question_open(
    alice_calls: Caller, here: Here
) -> None:
    task = alice_calls.send("one")
    execute_all(here)
    never = alice_calls.send("two", contextId=task["contextId"])
    cancel_run(newest_run(never["id"]), "interrupt")

    assert alice_calls.get(task["id"])["status"]["state"] == "TASK_STATE_INPUT_REQUIRED"
    alice_calls.send("yes", taskId=task["id"])
    execute_all(here)
    assert alice_calls.get(task["id"])["status"]["state"] == "TASK_STATE_COMPLETED"


def test_of_two_answers_at_once_one_is_taken(alice_calls: Caller, here: Here) -> None:
    task = alice_calls.send("please")
    execute_all(here)
    together = threading.Barrier(2)

    def answer(text: str) -> str:
        try:
            together.wait()
            alice_calls.send(text, taskId=task["id"])
        except Failed as exc:
            return str(exc)
        finally:
            connection.close()
        return "taken"

    with ThreadPoolExecutor(2) as pool:
        said = list(pool.map(answer, ["yes", "no"]))

    assert sorted(said)[-1].startswith("task")
    assert "taken" in said
    execute_all(here)
    assert alice_calls.get(task["id"])["status"]["state"] == "TASK_STATE_COMPLETED"
    assert Run.objects.filter(thread=task["contextId"]).count() == 2


def test_a_message_to_a_task_that_is_worked_on_is_refused(alice_calls: Caller) -> None:
    task = alice_calls.send("please")

    with pytest.raises(Failed, match="is running: wait"):
        alice_calls.send("yes", taskId=task["id"])

    assert Run.objects.count() == 1


def test_a_task_and_its_context_belong_together(
    alice_calls: Caller, here: Here
) -> None:
    task = alice_calls.send("please")
    execute_all(here)

    with pytest.raises(Failed, match="is not of context"):
        alice_calls.send("yes", taskId=task["id"], contextId=str(Thread().pk))


def test_a_deleted_run_takes_its_task_with_it(alice_calls: Caller) -> None:
    task = alice_calls.send("please")

    delete_run(newest_run(task["id"]))

    with pytest.raises(Failed, match="not found"):
        alice_calls.get(task["id"])


def test_the_part_of_a_resuming_run_is_no_task(alice_calls: Caller, here: Here) -> None:
    task = alice_calls.send("please")
    execute_all(here)
    alice_calls.send("yes", taskId=task["id"])
    resuming = newest_run(task["id"])

    assert f"{resuming.thread_id}:{resuming.first_run_id}" == task["id"]
    with pytest.raises(Failed, match="not found"):
        alice_calls.get(f"{resuming.thread_id}:{resuming.id}")


def test_a_run_of_the_run_endpoints_is_a_task(alice_calls: Caller, here: Here) -> None:
    """Such a task is not listed until a message has answered it."""
    messages = {"messages": [{"role": "user", "content": "please"}]}
    body = {"assistant_id": "confirming", "input": messages, "on_completion": "keep"}
    made = alice_calls.client.call("post", "/runs", body).json()
    execute_all(here)
    task_id = f"{made['thread_id']}:{made['run_id']}"

    assert alice_calls.get(task_id)["status"]["state"] == "TASK_STATE_INPUT_REQUIRED"
    assert alice_calls.call("ListTasks")["tasks"] == []
    alice_calls.send("yes", taskId=task_id)
    execute_all(here)
    assert alice_calls.get(task_id)["status"]["state"] == "TASK_STATE_COMPLETED"
    assert [one["id"] for one in alice_calls.call("ListTasks")["tasks"]] == [task_id]


def test_a_task_that_was_answered_still_shows_what_it_asked(
    alice_calls: Caller, here: Here
) -> None:
    """Clients that followed the interrupted run see its question, even later."""
    ref = TaskRef.parse(alice_calls.send("please")["id"])
    execute_all(here)
    alice_calls.send("yes", taskId=str(ref))
    answered = task_after(ref, ref.first_run_id)
    execute_all(here)
    completed = task_after(ref, ref.first_run_id)

    for left in (answered, completed):
        message = build_task(left, edges_for(left)).status.message
        assert message.parts[0].text == "Are you sure?"
    assert not task_after(ref, newest_run(str(ref)).id).needs_input
