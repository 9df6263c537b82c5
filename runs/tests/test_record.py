"""The record of a run: its attempts, its steps, and the usage of its models."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future
from datetime import timedelta
from pathlib import Path

import pytest
from django.conf import LazySettings
from django.db import connection
from django.utils import timezone

from spool.access.tests.people import Client
from spool.runs import counting, record, recovery, services
from spool.runs.lifecycle import Ended
from spool.runs.models import Run, RunAttempt, RunStep, Worker
from spool.runs.record import FIRST_STEPS, LAST_STEPS
from spool.runs.tests.executing import wait_for
from spool.runs.tests.oddities import Executing, served
from spool.runs.timeline import timeline_of
from spool.runs.worker.execution import HAND_BACK
from spool.tests.live import WAIT_SECS
from spool.threads.models import Thread
from spool.threads.services import delete_threads
from spool.threads.sweeping import sweep
from spool.usage.meter import meter
from spool.usage.models import UsageTotal

pytestmark = pytest.mark.django_db(transaction=True)

GRAPHS = ("spends", "branches", "streams", "retries", "fails", "asks", "holds", "long")
# The number of steps of the graph `long`.
LIMIT = 1000
ONE_CALL = {
    "calls": 1,
    "input": 10,
    "output": 5,
    "cached": 4,
    "cache_written": 1,
    "reasoning": 2,
}


@pytest.fixture(scope="module", autouse=True)
def spending(graphs: Path) -> Iterator[None]:
    with served(graphs.parent, "spending.py", *GRAPHS):
        yield


@pytest.fixture(autouse=True)
def _new_counters() -> None:
    meter.forget()


def used(run: Run) -> list[tuple[str, str, int, int, int]]:
    """The usage of a run's assistant: node, model, calls, input and output."""
    rows = UsageTotal.objects.filter(assistant_id=run.assistant_id)
    found = rows.values_list("node", "model", "calls", "input", "output")
    return sorted(found)


def hold(oddly: Executing, thread: Thread | None) -> tuple[Run, Future[Ended | None]]:
    run, done = oddly.start("holds", thread)
    wait_for(oddly.begun.exists)
    return run, done


# --- Steps --------------------------------------------------------------------------
def test_a_run_leaves_an_attempt_and_its_steps(
    oddly: Executing, thread: Thread, worker: Worker
) -> None:
    run = oddly.execute("spends", thread)

    attempt = RunAttempt.objects.get(run_id=run.id)
    assert (attempt.attempt, attempt.outcome, attempt.steps) == (1, "success", 5)
    assert (attempt.worker_id, attempt.graph_id) == (worker.id, "spends")
    assert attempt.queued_at <= attempt.started_at <= attempt.ended_at
    steps = RunStep.objects.filter(run_id=run.id).order_by("number")
    assert [(s.node, bool(s.namespace), s.outcome) for s in steps] == [
        ("inner", False, "success"),
        ("think", True, "success"),
        ("ask", True, "success"),
        ("alone", False, "success"),
        ("in_a_thread", False, "success"),
    ]
    assert [list(step.tokens) for step in steps] == [
        [],
        ["tiny-1"],
        ["tiny-2"],
        ["tiny-1"],
        ["tiny-1"],
    ]
    assert [tool["name"] for tool in steps[2].tools] == ["consult"]
    assert steps[1].tokens["tiny-1"] == ONE_CALL


def test_usage_is_exact_to_the_token(oddly: Executing, thread: Thread) -> None:
    run = oddly.execute("spends", thread)
    oddly.execute("spends", None)

    assert used(run) == [
        ("alone", "tiny-1", 2, 20, 10),
        ("ask", "tiny-2", 2, 20, 10),
        ("in_a_thread", "tiny-1", 2, 20, 10),
        ("think", "tiny-1", 2, 20, 10),
    ]


def test_parallel_branches_count_each(oddly: Executing, thread: Thread) -> None:
    run = oddly.execute("branches", thread)

    assert used(run) == [("think", "tiny-1", 5, 50, 25)]
    assert RunStep.objects.filter(run_id=run.id, node="think").count() == 5


def test_what_a_retried_node_used_counts(oddly: Executing, thread: Thread) -> None:
    run = oddly.execute("retries", thread)

    assert run.status == "success"
    assert used(run) == [("shaky", "tiny-1", 2, 20, 10)]
    steps = RunStep.objects.filter(run_id=run.id).order_by("number")
    assert [step.outcome for step in steps] == ["error", "success"]
    assert steps[0].task_id == steps[1].task_id


def test_a_stream_that_is_cancelled_has_used_what_it_said(
    oddly: Executing, thread: Thread
) -> None:
    run, done = oddly.start("streams", thread)
    wait_for(oddly.begun.exists)

    oddly.executor.stop(run.id, Run.CancelAction.INTERRUPT)
    done.result(timeout=WAIT_SECS)

    # Its last callback is called when its task is cancelled, perhaps after its end.
    wait_for(lambda: used(run) == [("stream", "tiny-1", 1, 7, 1)])
    attempt = RunAttempt.objects.get(run_id=run.id)
    assert attempt.outcome == "interrupted"
    assert [s.outcome for s in RunStep.objects.filter(run_id=run.id)] == ["cancelled"]


def test_a_failed_run_says_where(oddly: Executing, thread: Thread) -> None:
    run = oddly.execute("fails", thread)

    error = {"error": "ValueError", "message": "boom with sk-***"}
    attempt = RunAttempt.objects.get(run_id=run.id)
    assert (attempt.outcome, attempt.error) == ("error", error)
    assert attempt.node == "boom"
    assert "in _boom" in attempt.traceback
    assert "0123456789" not in attempt.traceback
    step = RunStep.objects.get(run_id=run.id, node="boom")
    assert (step.outcome, step.error) == ("error", error)
    assert "in _boom" in step.traceback


def test_a_node_that_asks_is_no_error(oddly: Executing, thread: Thread) -> None:
    run = oddly.execute("asks", thread)

    step = RunStep.objects.get(run_id=run.id, node="ask")
    assert (step.outcome, step.error) == ("interrupted", None)


def test_a_long_run_keeps_its_first_and_last_steps(
    oddly: Executing, thread: Thread
) -> None:
    run = oddly.execute("long", thread)  # Until its recursion limit.

    attempt = RunAttempt.objects.get(run_id=run.id)
    numbers = RunStep.objects.filter(run_id=run.id).values_list("number", flat=True)
    assert attempt.steps == LIMIT
    last = range(LIMIT - LAST_STEPS, LIMIT)
    assert sorted(numbers) == [*range(FIRST_STEPS), *last]


# --- Running and lost runs ----------------------------------------------------------
def test_what_a_run_used_is_written_while_it_goes_on(
    oddly: Executing, thread: Thread, tmp_path: Path
) -> None:
    run, done = hold(oddly, thread)

    wait_for(lambda: used(run) == [("holds", "tiny-1", 1, 10, 5)])
    run.refresh_from_db()
    timeline = timeline_of(run)
    assert [a["outcome"] for a in timeline["attempts"]] == ["running"]
    (tmp_path / "go").touch()
    done.result(timeout=WAIT_SECS)
    assert used(run) == [("holds", "tiny-1", 2, 20, 10)]


def test_an_attempt_that_is_handed_back_stays_on_record(
    oddly: Executing, thread: Thread, tmp_path: Path
) -> None:
    run, done = hold(oddly, thread)
    oddly.executor.stop_all(HAND_BACK)
    done.result(timeout=WAIT_SECS)
    (tmp_path / "go").touch()

    oddly.execute_again(run)

    attempts = RunAttempt.objects.filter(run_id=run.id).order_by("attempt")
    assert [a.outcome for a in attempts] == ["handed_back", "success"]
    # One call of the first attempt, two of the second.
    assert used(run) == [("holds", "tiny-1", 3, 30, 15)]
    run.refresh_from_db()
    assert timeline_of(run)["tokens"]["tiny-1"]["calls"] == 3


def test_an_attempt_that_is_lost_stays_on_record(
    oddly: Executing, thread: Thread, worker: Worker, tmp_path: Path
) -> None:
    run, done = hold(oddly, thread)
    wait_for(lambda: bool(used(run)))

    Worker.objects.filter(pk=worker.id).update(expired_at=timezone.now())
    recovery.recover_lost_runs()

    attempt = RunAttempt.objects.get(run_id=run.id)
    assert (attempt.outcome, attempt.worker_id) == ("lost", worker.id)
    (tmp_path / "go").touch()
    done.result(timeout=WAIT_SECS)
    # Usage after the run was lost is counted, too.
    wait_for(lambda: used(run) == [("holds", "tiny-1", 2, 20, 10)])
    assert RunAttempt.objects.filter(run_id=run.id).count() == 1


def test_a_run_that_is_rolled_back_stays_on_record(
    oddly: Executing, thread: Thread
) -> None:
    run, done = hold(oddly, thread)

    oddly.executor.stop(run.id, Run.CancelAction.ROLLBACK)
    done.result(timeout=WAIT_SECS)

    attempt = RunAttempt.objects.get(run_id=run.id)
    assert attempt.outcome == "rolled_back"
    assert used(run) == [("holds", "tiny-1", 1, 10, 5)]


def test_a_run_that_no_worker_had_shows_no_attempt(
    make_run: Callable[..., Run], thread: Thread
) -> None:
    run = make_run(assistant_id="spends")

    services.cancel_run(run, Run.CancelAction.INTERRUPT)

    run.refresh_from_db()
    assert timeline_of(run)["attempts"] == []
    # Its end is kept, to be counted in the metrics.
    assert RunAttempt.objects.get().attempt == 0


# --- Deletion -------------------------------------------------------------------------
def test_the_record_goes_with_a_run_that_its_client_deletes(
    oddly: Executing, thread: Thread
) -> None:
    run = oddly.execute("spends", thread)

    services.delete_run(run)

    assert not RunAttempt.objects.filter(run_id=run.id).exists()
    assert not RunStep.objects.exists()
    # Kept only to be counted.
    left = RunAttempt.objects.get()
    assert (left.thread_id, left.worker_id, left.traceback) == (None, None, "")
    assert used(run)


def test_the_record_goes_with_a_thread_that_its_client_deletes(
    oddly: Executing, thread: Thread
) -> None:
    run, done = hold(oddly, thread)
    oddly.executor.stop(run.id, Run.CancelAction.ROLLBACK)
    done.result(timeout=WAIT_SECS)
    oddly.execute("spends", thread)

    delete_threads(Thread.objects.filter(pk=thread.id))

    assert not RunStep.objects.exists()
    assert not RunAttempt.objects.exclude(thread_id=None).exists()
    assert used(run)


def test_the_record_of_a_stateless_run_outlives_its_thread(
    oddly: Executing, settings: LazySettings
) -> None:
    settings.RESUMABLE_STREAM_TTL_SECONDS = 0
    run = oddly.execute("spends", None)

    assert sweep()["discarded"] == 1

    assert not Run.objects.filter(pk=run.pk).exists()
    assert RunAttempt.objects.filter(run_id=run.pk).count() == 1
    assert RunStep.objects.filter(run_id=run.pk).count() == 5


def test_a_sweep_deletes_what_is_old(
    oddly: Executing, thread: Thread, settings: LazySettings
) -> None:
    old, new = oddly.execute("spends", thread), oddly.execute("spends", thread)
    settings.RUN_RECORD_TTL_DAYS = 7
    week = timedelta(days=7, minutes=1)
    RunAttempt.objects.filter(run_id=old.id).update(ended_at=timezone.now() - week)

    assert record.sweep() == 0  # It is not counted yet.
    for _ in range(2):
        counting.count()
    assert record.sweep() == 1

    kept = {new.id}
    assert set(RunAttempt.objects.values_list("run_id", flat=True)) == kept
    assert set(RunStep.objects.values_list("run_id", flat=True)) == kept


# --- Over HTTP ---------------------------------------------------------------------------
def test_a_timeline_shows_what_happened(
    alice_client: Client, oddly: Executing, thread: Thread
) -> None:
    run = oddly.execute("fails", thread)

    body = alice_client.call(
        "get", f"/threads/{thread.id}/runs/{run.id}/timeline"
    ).json()

    assert body == alice_client.call("get", f"/runs/{run.id}/timeline").json()
    assert (body["status"], body["graph_id"]) == ("error", "fails")
    (attempt,) = body["attempts"]
    assert [step["node"] for step in attempt["steps"]] == ["think", "boom"]
    assert body["error"] == attempt["error"] == attempt["steps"][1]["error"]
    assert body["tokens"] == {"tiny-1": ONE_CALL}
    assert "_boom" not in str(body)


def test_a_timeline_is_hidden_from_others(
    bob_client: Client, alice_client: Client, oddly: Executing, thread: Thread
) -> None:
    run = oddly.execute("spends", thread)

    answer = bob_client.call("get", f"/threads/{thread.id}/runs/{run.id}/timeline")

    assert answer.status_code == 404


def test_the_record_costs_no_statement_more(oddly: Executing, thread: Thread) -> None:
    """The record of a short run is written by the statement that ends it."""
    run = oddly.execute("spends", thread)

    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT count(DISTINCT xmin::text) FROM (
                SELECT xmin FROM run_attempts UNION ALL SELECT xmin FROM run_steps
                UNION ALL SELECT xmin FROM usage_totals
                UNION ALL SELECT xmin FROM runs WHERE id = %s
            ) AS written""",
            [run.id],
        )
        assert cursor.fetchone() == (1,)
