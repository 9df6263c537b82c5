from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.admin.models import LogEntry
from django.db.models.functions import Now
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from spool.runs import lifecycle
from spool.runs.lifecycle import Outcome
from spool.runs.models import Run, RunAttempt, RunStep, Worker
from spool.threads.models import Thread

pytestmark = pytest.mark.django_db

MakeRun = Callable[..., Run]
RUNS = "/admin/runs/run/"


def page(client: Client, run: Run) -> str:
    response = client.get(reverse("admin:runs_run_change", args=[run.pk]))
    assert response.status_code == 200
    return response.content.decode()


@pytest.fixture
def failed(make_run: MakeRun) -> Run:
    """A run whose first worker was lost, and whose second attempt failed."""
    run = make_run(input={"a": 1})
    worker = Worker.objects.create(hostname="machine", pid=17, capacity=10)
    begin = timezone.now()
    error = {"error": "ValueError", "message": "no luck"}
    common = {
        "run_id": run.pk,
        "thread_id": run.thread_id,
        "graph_id": "echo",
        "queued_at": begin,
        "started_at": begin,
        "ended_at": begin + timedelta(seconds=2),
    }
    RunAttempt.objects.create(attempt=1, outcome="lost", worker_id=uuid4(), **common)
    RunAttempt.objects.create(
        attempt=2, outcome="error", worker_id=worker.pk, error=error, steps=2, **common
    )
    for number, (node, namespace, text) in enumerate(
        [("plan", "", ""), ("look", "plan:1", "Traceback: api_key='sk-1'")]
    ):
        RunStep.objects.create(
            run_id=run.pk,
            attempt=2,
            slot=number,
            number=number,
            node=node,
            namespace=namespace,
            started_at=begin + timedelta(seconds=number),
            duration_ms=1000,
            outcome="error" if text else "success",
            error=error if text else None,
            traceback=text,
            tokens={"gpt": {"calls": 1, "input": 7, "output": 3}},
            tools=[{"name": "search", "duration_ms": 12, "outcome": "error"}],
        )
    Run.objects.filter(pk=run.pk).update(status="error", error=error, ended_at=Now())
    run.refresh_from_db()
    return run


def test_a_failed_run_is_understood(admin_client: Client, failed: Run) -> None:
    text = page(admin_client, failed)

    assert "Attempt 1" in text
    assert "Attempt 2" in text
    assert "lost" in text
    assert "machine:17" in text
    # The innermost step that raised the error.
    assert "Raised by the node <b>look</b> in plan:1, step 1." in text
    assert "Traceback: api_key=***" in text
    assert "sk-1" not in text
    assert "gpt: 7 in, 3 out" in text
    assert "search 12 ms" in text
    assert "--depth: 1" in text


def test_the_newest_run_of_a_thread_that_waits_leads_to_the_answer(
    admin_client: Client, make_run: MakeRun, thread: Thread
) -> None:
    older, run = make_run(), make_run()
    Run.objects.update(status="success")
    Thread.objects.filter(pk=thread.pk).update(
        status="interrupted", interrupts={"t": [{"id": "i-1", "value": "go on?"}]}
    )

    shown = page(admin_client, run)
    Thread.objects.filter(pk=thread.pk).update(interrupts={})
    stopped = page(admin_client, run)

    operations = f"/admin/threads/thread/{thread.pk}/operations"
    assert "go on?" in shown
    assert f"{operations}/answer/?interrupt_id=i-1" in shown
    assert f"{operations}/continue/" in stopped
    assert "interrupts" not in page(admin_client, older).lower()


def test_a_viewer_sees_no_traceback_and_no_button(
    client_of: Callable[..., Client], failed: Run
) -> None:
    text = page(client_of("view_run"), failed)

    assert "no luck" in text
    assert "Traceback" not in text
    assert "/operations/" not in text


def test_pages_have_few_queries(
    admin_client: Client, failed: Run, django_assert_max_num_queries: Any
) -> None:
    with django_assert_max_num_queries(20):
        page(admin_client, failed)
    with django_assert_max_num_queries(20):
        admin_client.get(RUNS)


def test_the_output_is_read_on_demand(admin_client: Client, make_run: MakeRun) -> None:
    run = make_run()
    path = reverse("admin:runs_run_output", args=[run.pk])

    assert "saved nothing" in admin_client.get(path).content.decode()
    assert path in page(admin_client, run)


def test_a_run_is_cancelled_on_its_page(
    admin_client: Client, make_run: MakeRun
) -> None:
    run = make_run()

    response = admin_client.post(f"{RUNS}{run.pk}/operations/cancel/", {"reason": ""})

    run.refresh_from_db()
    assert response["Location"] == reverse("admin:runs_run_change", args=[run.pk])
    assert run.status == "interrupted"
    assert LogEntry.objects.get(object_id=str(run.pk)).change_message == "cancelled"


def test_a_roll_back_asks_first_and_keeps_its_reason(
    admin_client: Client, make_run: MakeRun
) -> None:
    runs = [make_run() for _ in range(12)]
    chosen = {"action": "roll_back", "_selected_action": [str(run.pk) for run in runs]}

    asked = admin_client.post(RUNS, chosen)
    assert Run.objects.count() == 12
    text = asked.content.decode()
    assert "Cancel and roll back: 12 runs" in text
    assert "and 2 more" in text

    done = {**chosen, "confirmed": "1", "reason": "flood by mistake"}
    told = admin_client.post(RUNS, done, follow=True)
    assert [str(message) for message in told.context["messages"]] == [
        "12 runs: rolled back."
    ]
    assert not Run.objects.exists()
    entries = LogEntry.objects.filter(change_message="rolled back: flood by mistake")
    assert entries.count() == 12


def test_operations_need_the_permission(
    client_of: Callable[..., Client], make_run: MakeRun
) -> None:
    run, viewer = make_run(), client_of("view_run")

    for method in (viewer.get, viewer.post):
        assert method(f"{RUNS}{run.pk}/operations/roll_back/").status_code == 403
    assert Run.objects.filter(pk=run.pk, status="pending").exists()
    assert viewer.get(f"{RUNS}{run.pk}/operations/nothing/").status_code == 404


def test_runs_are_found_by_prefix_words_and_metadata(
    admin_client: Client, make_run: MakeRun, thread: Thread
) -> None:
    Thread.objects.filter(pk=thread.pk).update(metadata={"team": "red"})
    run, other = make_run(), make_run(thread_id=None)
    error = {"error": "RateLimitError", "message": "429: too many requests of acme"}
    assert lifecycle.end_here(other, Outcome("error", error))

    def found(term: str) -> set[Any]:
        response = admin_client.get(RUNS, {"q": term})
        return {row.pk for row in response.context["cl"].result_list}

    assert found(str(run.pk)) == {run.pk}
    assert run.pk in found(str(run.pk)[:13])
    assert found(str(other.thread_id)) == {other.pk}
    assert found("ratelimiterror") == {other.pk}
    assert found("requests acme") == {other.pk}
    assert found("requests unknown") == set()
    assert found("team=red") == {run.pk}
    assert found('{"team": "blue"}') == set()
