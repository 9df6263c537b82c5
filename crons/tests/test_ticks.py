"""One tick: what it fires, what it costs, and the results that it records."""

from __future__ import annotations

from contextlib import ExitStack
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from spool.assistants.models import Assistant
from spool.crons import firing, together
from spool.crons.models import Cron, CronFiring
from spool.crons.services import database_now
from spool.crons.tasks import TICKS, sweep, tick
from spool.crons.tests.conftest import MakeCron, MakeDue
from spool.database.tests.plans import indexes_in, plan_of
from spool.runs.models import Run
from spool.threads.models import Thread
from spool.usage import budgets
from spool.usage.models import Budget

pytestmark = pytest.mark.django_db


def test_a_tick_holds_large_requests_one_at_a_time(
    make_cron: MakeCron, make_due: MakeDue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hundred requests of the largest size would exhaust the worker's memory."""
    for size in (10, 2000, 2000):
        make_due(make_cron(input="x" * size))
    monkeypatch.setattr(together, "MAX_BYTES", 3000)

    with CaptureQueriesContext(connection) as queries:
        firing.fire_due()

    asked = [one["sql"] for one in queries if '"crons"."payload",' in one["sql"]]
    assert ['"id" IN' in sql for sql in asked] == [True, False, False]
    assert Run.objects.count() == 3


def test_a_tick_asks_no_more_for_more_crons(
    make_cron: MakeCron, make_due: MakeDue
) -> None:
    asked = []
    for count in (2, 12):
        for _ in range(count):
            make_due(make_cron())
        with CaptureQueriesContext(connection) as queries:
            assert firing.fire_due() == count
        asked.append(len(queries))

    assert asked[0] == asked[1]


def test_the_runs_of_an_owner_are_limited_within_a_batch(
    make_cron: MakeCron, make_due: MakeDue, settings: Any
) -> None:
    settings.MAX_RUNS_PER_OWNER = 2
    for seconds in (1, 2, 3):
        make_due(make_cron(), seconds=seconds)

    firing.fire_due()

    errors = CronFiring.objects.order_by("slot").values_list("error", flat=True)
    limit = "At most 2 runs at a time: wait until one has ended"
    assert list(errors) == ["", "", limit]
    assert Run.objects.count() == 2


def test_a_budget_that_is_used_up_refuses_its_owners_runs(
    make_cron: MakeCron, make_due: MakeDue
) -> None:
    for _ in range(2):
        make_due(make_cron())
    Budget.objects.create(owner="alice", limit=0, unit="tokens", period="day")
    budgets.known.forget()

    firing.fire_due()

    errors = CronFiring.objects.values_list("error", flat=True)
    budgets.known.forget()
    assert [error.partition(":")[0] for error in errors] == ["Budget exceeded"] * 2
    assert not Run.objects.exists()


def test_crons_of_one_thread_that_are_due_at_once_keep_their_order(
    make_cron: MakeCron, make_due: MakeDue, thread: Thread
) -> None:
    crons = [make_cron(thread) for _ in range(3)]
    for seconds, cron in enumerate(reversed(crons), start=1):
        make_due(cron, seconds=seconds)

    assert firing.fire_due() == 3

    runs = thread.runs.oldest_first()
    assert {one.slot for one in CronFiring.objects.all()} == {
        cron.next_run_date for cron in crons
    }
    assert [run.dispatched_at is not None for run in runs] == [True, False, False]


def test_a_batch_reads_its_assistants_again_if_one_has_changed(
    make_cron: MakeCron, make_due: MakeDue
) -> None:
    crons = [make_cron(), make_cron()]
    for cron in crons:
        make_due(cron)
    firing.fire_due()  # Now the assistant is cached.
    Assistant.objects.update(metadata={"changed": True}, updated_at=database_now())
    Run.objects.all().delete()
    for cron in crons:
        make_due(cron, seconds=0.5)

    firing.fire_due()

    assert [run.metadata["changed"] for run in Run.objects.all()] == [True, True]


def test_a_backlog_is_for_several_ticks(
    make_cron: MakeCron, make_due: MakeDue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(firing, "BATCH", 1)
    monkeypatch.setattr(firing, "MAX_BATCHES", 2)
    for _ in range(3):
        make_due(make_cron())

    fired = [firing.fire_due() for _ in range(3)]

    assert fired == [2, 1, 0]


def test_ticks_with_much_to_fire_leave_threads_to_others(
    make_cron: MakeCron, make_due: MakeDue
) -> None:
    make_due(make_cron())

    with ExitStack() as stack:
        for _ in range(3):
            stack.enter_context(TICKS)
        tick()
        assert not Run.objects.exists()
    tick()

    assert Run.objects.count() == 1


def test_a_tick_leaves_what_becomes_due_after_its_beginning(
    make_cron: MakeCron, make_due: MakeDue, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_due(make_cron(), seconds=5)
    begun = database_now() - timedelta(seconds=10)
    monkeypatch.setattr(firing, "database_now", lambda: begun)

    assert firing.fire_due() == 0


def test_results_outlive_the_runs(make_cron: MakeCron, make_due: MakeDue) -> None:
    cron = make_cron()
    make_due(cron)
    tick()
    run = Run.objects.get()
    run.status, run.error = Run.Status.ERROR, {"error": "KeyError", "message": "'x'"}
    run.save()

    tick()
    run.thread.delete()
    tick()
    sweep()

    record = cron.firings.get()
    assert (record.status, record.error) == ("error", "KeyError: 'x'")


def test_the_result_of_a_run_that_was_deleted_is_unknown(
    make_cron: MakeCron, make_due: MakeDue
) -> None:
    cron = make_cron()
    make_due(cron)
    tick()
    Thread.objects.all().delete()

    sweep()

    assert cron.firings.get().status == ""


def test_sweep_deletes_old_firings(make_cron: MakeCron, settings: Any) -> None:
    settings.CRON_FIRINGS_TTL_DAYS = 1
    cron = make_cron()
    old = database_now() - timedelta(days=1, minutes=1)
    CronFiring.objects.create(cron=cron, slot=old, fired_at=old, status="success")
    kept = CronFiring.objects.create(cron=cron, status="success")

    sweep()

    assert cron.firings.get() == kept


def test_a_tick_with_nothing_due_asks_little(
    make_cron: MakeCron, django_assert_max_num_queries: Any
) -> None:
    make_cron()

    # The clock, a savepoint, the due crons, the savepoint's release, and the results.
    with django_assert_max_num_queries(5):
        tick()


def test_the_tick_finds_what_is_due_by_its_index(make_cron: MakeCron) -> None:
    make_cron()
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
        plan = Cron.objects.due(database_now()).order_by("next_run_date").explain()

    assert "crons_due" in plan


@pytest.mark.parametrize(
    "statement", [firing.RECORD_RESULTS, firing.FORGET_DELETED_RUNS]
)
def test_results_are_looked_for_among_active_firings_alone(statement: str) -> None:
    """Millions of old firings cost a tick nothing."""
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")

    plan = plan_of(statement)

    assert "cron_firings_active" in indexes_in(plan)
    scanned = [node for node in plan if node["Node Type"] == "Seq Scan"]
    assert "cron_firings" not in {node["Relation Name"] for node in scanned}
