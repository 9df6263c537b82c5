"""Attempts are counted by minute and in longer periods, each exactly once."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import IO
from uuid import uuid4

import pytest
from django.db import connection, transaction

from spool.access.tests.people import Client
from spool.database.loop import conninfo
from spool.runs import counting, record, tasks
from spool.runs.models import Run, RunAttempt, RunStep
from spool.runs.periods import (
    BUCKETS,
    Counting,
    QueueMinute,
    RunFailure,
    RunPeriod,
    Span,
    TableHour,
)
from spool.runs.services import cancel_run, delete_run
from spool.runs.tests.attempts import HOUR, MINUTE, SECOND, ago, count_now, ended
from spool.runs.tests.executing import Here, wait_for
from spool.tests.live import ROOT, WAIT_SECS
from spool.threads.models import Thread
from spool.threads.services import delete_threads
from spool.usage.models import UsageRuns

pytestmark = pytest.mark.django_db(transaction=True)

ASSISTANT = uuid4()
TOKENS = {"calls": 1, "input": 10, "output": 5, "cached": 4, "cache_written": 1}


@pytest.fixture(autouse=True)
def _begun(transactional_db: None) -> None:
    counting.count()  # The first pass ever only writes its row.


def total(name: str = "success", span: str = Span.MINUTE) -> int:
    return sum(RunPeriod.objects.filter(span=span).values_list(name, flat=True))


# --- What is counted ----------------------------------------------------------------
def test_a_minute_has_outcomes_delays_durations_steps_and_tokens() -> None:
    now = ago(SECOND)
    ended(now, tokens={"tiny": {**TOKENS, "reasoning": 2}, "large": TOKENS})
    ended(now, tokens={"tiny": TOKENS})
    ended(now, "error", revision="r2")
    ended(now, run_class="cron")

    count_now()

    found = RunPeriod.objects.get(revision="r1", run_class="background")
    assert found.start == found.last_at == now.replace(second=0, microsecond=0)
    assert (found.span, found.graph_id) == ("minute", "echo")
    assert (found.success, found.error) == (2, 0)
    assert found.delays[BUCKETS.index(2.5)] == sum(found.delays) == 2
    assert found.durations[BUCKETS.index(5)] == sum(found.durations) == 2
    assert (found.delay_secs, found.duration_secs) == (4, 6)
    assert (found.steps, found.calls, found.input, found.output) == (4, 3, 30, 15)
    assert (found.cached, found.cache_written, found.reasoning) == (12, 3, 2)
    assert RunPeriod.objects.get(revision="r2").error == 1
    assert RunPeriod.objects.get(run_class="cron").success == 1


def test_a_long_run_counts_in_the_minute_in_which_it_ended() -> None:
    now = ago(SECOND)
    ended(now, queued_at=now - 3 * HOUR, started_at=now - 2 * HOUR - SECOND)

    count_now()

    found = RunPeriod.objects.get()
    assert found.start == now.replace(second=0, microsecond=0)
    assert found.durations[-1] == 1  # Above all bounds.


def test_a_resumed_run_counts_once_from_its_first_attempt() -> None:
    now = ago(SECOND)
    lost = ended(now - 20 * SECOND, "lost", steps=None, tokens=None)
    RunStep.objects.create(
        run_id=lost.run_id,
        attempt=1,
        slot=6,
        number=6,
        node="think",
        started_at=now,
        duration_ms=1,
        outcome="success",
        tokens={"tiny": TOKENS},
    )
    ended(now, run_id=lost.run_id, attempt=2, started_at=now - SECOND)

    count_now()

    assert (total("success"), total("lost")) == (1, 1)
    last = RunPeriod.objects.get(success=1)
    assert last.durations[BUCKETS.index(30)] == sum(last.durations) == 1  # 23 s.
    assert sum(sum(p.delays) for p in RunPeriod.objects.all()) == 1
    # The lost attempt is counted by its steps.
    assert (total("steps"), total("input")) == (9, 10)


def test_failures_are_grouped_by_graph_exception_and_node() -> None:
    now = ago(SECOND)
    for node in ("think", "think", "act"):
        ended(now, "error", error={"error": "ValueError", "message": "no"}, node=node)
    ended(now, "timeout", error={"error": "RunTimeout", "message": "late"})
    ended(now, "interrupted")

    count_now()

    found = RunFailure.objects.order_by("-count", "error", "node")
    assert [(f.graph_id, f.error, f.node, f.count) for f in found] == [
        ("echo", "ValueError", "think", 2),
        ("echo", "RunTimeout", "", 1),
        ("echo", "ValueError", "act", 1),
    ]


def test_kinds_of_failures_are_bounded() -> None:
    most = counting.MAX_FAILURES[Span.MINUTE]
    RunAttempt.objects.bulk_create(
        ended(
            datetime(2026, 1, 1, 10, minute, tzinfo=UTC),
            "error",
            error={"error": f"Error{minute}_{kind}"},
            is_saved=False,
        )
        for minute in range(6)
        for kind in range(most + 10)
    )

    count_now()

    minutes = RunFailure.objects.filter(span=Span.MINUTE)
    assert minutes.filter(start__minute=3).count() == most + 1
    assert minutes.get(start__minute=3, error=RunFailure.OTHER).count == 10
    hour = RunFailure.objects.filter(span=Span.HOUR)
    assert hour.count() == counting.MAX_FAILURES[Span.HOUR]
    assert sum(hour.values_list("count", flat=True)) == 6 * (most + 10)


def test_rows_do_not_tell_whose_runs_they_were() -> None:
    attempt = ended(ago(SECOND), "error", error={"error": "E", "message": "secret"})

    count_now()

    stored = str([*RunPeriod.objects.values(), *RunFailure.objects.values()])
    assert "'E'" in stored
    private = [attempt.owner, str(attempt.run_id), str(attempt.thread_id), "secret"]
    assert not [part for part in private if part in stored]


# --- Exactly once -------------------------------------------------------------------
def test_counting_again_changes_nothing() -> None:
    ended(ago(SECOND))
    ended(ago(10 * MINUTE))

    for _ in range(3):
        count_now()

    assert total() == 2
    assert total(span=Span.HOUR) == total(span=Span.EVER) == 1


def test_an_earlier_pass_does_not_hide_a_later_end() -> None:
    now = ago(SECOND)
    ended(now)
    count_now()
    ended(now)
    ended(now, "error", error={"error": "E"})

    count_now()

    assert (total(), total("error")) == (2, 1)
    assert RunFailure.objects.get().count == 1


def test_two_ticks_at_once_count_once() -> None:
    for minutes in range(12):
        ended(ago(minutes * MINUTE + SECOND), "error", error={"error": "E"})
    Counting.objects.update(counted_at=ago(MINUTE))
    start = threading.Barrier(4)

    def tick(_: int) -> None:
        try:
            start.wait(timeout=WAIT_SECS)
            counting.count()
        finally:
            connection.close()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(tick, range(4)))
    count_now()

    closed = total("error", Span.EVER)
    assert closed == total("error", Span.HOUR) == total("error", Span.QUARTER)
    assert 6 <= closed <= 7
    hours = RunFailure.objects.filter(span=Span.HOUR)
    assert sum(hours.values_list("count", flat=True)) == closed


def test_a_crash_in_a_pass_changes_nothing() -> None:
    ended(ago(10 * MINUTE))
    Counting.objects.update(counted_at=ago(MINUTE))
    with transaction.atomic():
        counting.count()
        assert total() == 1
        transaction.set_rollback(True)
    assert not RunPeriod.objects.exists()

    count_now()

    assert total() == total(span=Span.EVER) == 1


@pytest.mark.long
def test_processes_that_are_killed_while_they_count_count_nothing_twice() -> None:
    """Two processes count five hours, minute by minute, and are killed repeatedly."""
    first = ago(5 * HOUR)
    for number in range(600):
        at = first + number * 30 * SECOND
        ended(at, "error", error={"error": "E"}, assistant_id=ASSISTANT)
    Counting.objects.update(closed_until=first - MINUTE, counted_at=first)

    latest = ago(30 * MINUTE)
    while (begin := Counting.objects.get().closed_until) < latest:
        # Never a minute that can't be closed yet.
        goal = min(begin + HOUR, latest)
        with counting_process() as one, counting_process() as other:
            one.write(b"\n")
            other.write(b"\n")
            wait_for(lambda: Counting.objects.get().closed_until >= goal)  # noqa: B023
    for _ in range(9):
        counting.count()

    closed = RunAttempt.objects.filter(ended_at__lt=Counting.objects.get().closed_until)
    expected = closed.count()
    assert 550 < expected <= 600
    for span in (Span.QUARTER, Span.HOUR, Span.EVER):
        assert total("error", span) == expected
    hours = RunFailure.objects.filter(span=Span.HOUR)
    assert sum(hours.values_list("count", flat=True)) == expected
    assert sum(UsageRuns.objects.values_list("failed", flat=True)) == expected


COUNTS = """
import django
django.setup()
from datetime import timedelta
from spool.runs import counting
counting.COUNT_EVERY, counting.MAX_CLOSED = timedelta(), timedelta(minutes=1)
print("ready", flush=True)
input()
while True:
    counting.count()
"""


@contextmanager
def counting_process() -> Iterator[IO[bytes]]:
    """A process that counts continuously from its first line of input until killed."""
    environment = {
        **os.environ,
        "DATABASE_URL": conninfo(),
        "DJANGO_SETTINGS_MODULE": "spool.config.settings",
    }
    with subprocess.Popen(
        [sys.executable, "-c", COUNTS],
        env=environment,
        cwd=ROOT,
        bufsize=0,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        try:
            assert process.stdin
            assert process.stdout
            assert process.stdout.readline() == b"ready\n"
            yield process.stdin
        finally:
            process.kill()


def test_an_end_that_is_committed_late_is_counted_when_its_minute_is_closed() -> None:
    count_now()
    ended(ago(3 * MINUTE))  # Committed only now.
    count_now()
    assert total() == 0

    Counting.objects.update(closed_until=ago(8 * MINUTE))
    RunAttempt.objects.update(ended_at=ago(6 * MINUTE))
    count_now()

    assert total() == total(span=Span.EVER) == 1


def test_after_an_outage_all_minutes_are_counted() -> None:
    for hours in range(1, 5):
        ended(ago(hours * HOUR))
    ended(ago(SECOND))
    Counting.objects.update(counted_at=ago(5 * HOUR), closed_until=ago(5 * HOUR))

    for _ in range(6):
        counting.count()  # It does not wait while it is behind.

    assert total() == 5
    assert total(span=Span.EVER) == total(span=Span.HOUR) == 4
    assert Counting.objects.get().counted_at > ago(MINUTE)


def test_a_pass_so_soon_after_another_counts_nothing() -> None:
    count_now()
    ended(ago(SECOND))

    counting.count()

    assert not RunPeriod.objects.exists()


# --- What was deleted ---------------------------------------------------------------
@pytest.mark.parametrize("deleted", ["run", "thread"])
def test_a_run_that_is_deleted_at_once_is_counted(
    deleted: str, here: Here, run: Run
) -> None:
    here.execute(run)
    if deleted == "run":
        delete_run(run)
    else:
        delete_threads(Thread.objects.filter(pk=run.thread_id))

    count_now()

    # Without input it fails; the text of the error is not kept.
    left = RunAttempt.objects.get()
    assert (left.thread_id, left.traceback) == (None, "")
    assert left.error == {"error": "EmptyInputError"}
    assert RunFailure.objects.get().error == "EmptyInputError"
    assert total("error") == 1


def test_a_deleted_run_is_forgotten_once_it_is_counted(here: Here, run: Run) -> None:
    here.execute(run)
    delete_run(run)
    RunAttempt.objects.update(ended_at=ago(HOUR))
    Counting.objects.update(closed_until=ago(2 * HOUR))

    record.sweep()
    assert RunAttempt.objects.exists()
    count_now()
    record.sweep()

    assert not RunAttempt.objects.exists()
    assert total("error") == 1


def test_a_stateless_run_is_counted(alice_client: Client, here: Here) -> None:
    body = {"assistant_id": "echo", "input": {"text": "hello"}}
    created = alice_client.call("post", "/runs", body)
    here.execute(Run.objects.get(pk=created.json()["run_id"]))
    delete_threads(Thread.objects.all(), by_sweep=True)

    count_now()

    found = RunPeriod.objects.get()
    assert (found.graph_id, found.run_class, found.success) == ("echo", "background", 1)
    assert found.revision
    assert found.steps == 1


def test_a_run_that_is_deleted_with_its_thread_is_counted(here: Here, run: Run) -> None:
    delete_threads(Thread.objects.filter(pk=run.thread_id))

    count_now()

    assert total("rolled_back") == 1
    assert (RunAttempt.objects.get().thread_id, Run.objects.count()) == (None, 0)


@pytest.mark.parametrize(
    ("action", "outcome"), [("interrupt", "interrupted"), ("rollback", "rolled_back")]
)
def test_a_run_that_is_cancelled_while_it_waits_is_counted(
    action: str, outcome: str, run: Run
) -> None:
    cancel_run(run, action)

    count_now()

    found = RunPeriod.objects.get()
    assert (getattr(found, outcome), found.steps) == (1, 0)
    assert sum(found.delays) == sum(found.durations) == 0


# --- Usage --------------------------------------------------------------------------
def test_owners_see_how_their_runs_ended(alice_client: Client) -> None:
    assistant_id = uuid4()
    at = ago(10 * MINUTE)
    for outcome in ("success", "error", "lost", "timeout"):
        ended(at, outcome, assistant_id=assistant_id)
    ended(at, owner="bob")
    ended(ago(SECOND))

    for _ in range(3):
        count_now()

    found = UsageRuns.objects.get(owner="alice")
    assert (found.assistant_id, found.graph_id) == (assistant_id, "echo")
    assert (found.revision, found.day) == ("r1", at.date())
    assert (found.successful, found.failed, found.timed_out) == (1, 1, 1)
    assert found.seconds == 9
    assert UsageRuns.objects.get(owner="bob").successful == 1


def test_deleted_runs_stay_in_the_usage_of_their_owner(here: Here, run: Run) -> None:
    here.execute(run)
    delete_run(run)
    RunAttempt.objects.update(ended_at=ago(10 * MINUTE))
    Counting.objects.update(closed_until=ago(HOUR))

    count_now()

    found = UsageRuns.objects.get()
    assert (found.owner, found.failed) == ("alice", 1)
    assert found.assistant_id == run.assistant_id


def test_runs_of_a_deleted_owner_are_counted_without_them(here: Here, run: Run) -> None:
    here.execute(run)
    record.forget_owner("alice")
    RunAttempt.objects.update(ended_at=ago(10 * MINUTE))
    Counting.objects.update(closed_until=ago(HOUR))

    count_now()

    assert UsageRuns.objects.get().owner == ""
    assert total("error") == 1


# --- Samples ------------------------------------------------------------------------
def test_the_queue_is_sampled_each_minute(run: Run) -> None:
    Run.objects.update(created_at=ago(7 * MINUTE), run_class="cron")
    QueueMinute.objects.all().delete()
    Counting.objects.update(counted_at=ago(2 * MINUTE))

    counting.count()

    found = QueueMinute.objects.get(run_class="cron")
    assert (found.waiting, found.running) == (1, 0)
    assert 419 < found.oldest_secs < 440
    assert QueueMinute.objects.get(run_class="interactive").waiting == 0


def test_the_largest_tables_are_measured_each_hour() -> None:
    count_now()
    measured = TableHour.objects.count()
    count_now()

    names = set(TableHour.objects.values_list("name", flat=True))
    assert {"runs", "threads", "checkpoints", "webhook_deliveries"} <= names
    assert len(names) == measured == TableHour.objects.count() <= counting.MAX_TABLES
    assert all(TableHour.objects.values_list("bytes", flat=True))


def test_the_sweep_deletes_old_rows_only() -> None:
    old = ago(31 * 24 * HOUR)
    ended(ago(10 * MINUTE), "error", error={"error": "E"})
    ended(old, "error", error={"error": "E"})
    Counting.objects.update(closed_until=old - HOUR)
    for _ in range(3):
        count_now()
    assert total("error") == total("error", Span.EVER) == 2

    tasks.sweep()

    assert total("error") == total("error", Span.HOUR) == 1
    assert total("error", Span.EVER) == 2
    assert RunFailure.objects.filter(span=Span.MINUTE).count() == 1
