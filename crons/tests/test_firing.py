from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from datetime import timedelta
from typing import Any

import pytest
from django.db import OperationalError, connection
from django.test import Client as DjangoClient
from django.test.utils import CaptureQueriesContext

from assistants.models import Assistant
from config.errors import BadRequest
from config.tests.plans import indexes_in, plan_of
from crons import firing, services
from crons.models import Cron, CronFiring
from crons.schedule import next_slot
from crons.services import database_now
from crons.tasks import TICKS, sweep, tick
from runs.models import Run
from threads.models import Thread

pytestmark = pytest.mark.django_db

MakeCron = Callable[..., Cron]
MakeDue = Callable[..., None]


def test_a_new_cron_does_not_fire(make_cron: MakeCron) -> None:
    make_cron()

    assert firing.fire_due() == 0
    assert not Run.objects.exists()


def test_a_due_cron_fires_once_and_moves_on(
    make_cron: MakeCron, make_due: MakeDue
) -> None:
    cron = make_cron(input={"a": 1}, metadata={"kind": "x"}, stream_mode="updates")
    make_due(cron)
    slot = cron.next_run_date

    fired = [firing.fire_due(), firing.fire_due()]

    assert fired == [1, 0]
    run = Run.objects.get()
    assert run.kwargs["input"] == {"a": 1}
    assert run.kwargs["stream_mode"] == ["updates"]
    assert run.kwargs["config"]["configurable"] == {"cron_id": str(cron.id)}
    assert run.metadata["kind"] == "x"
    assert run.user
    assert run.user["identity"] == "alice"
    assert run.owner == "alice"
    assert run.is_temporary
    assert run.thread.owner == "alice"
    record = cron.firings.get()
    assert (record.slot, record.run_id, record.missed) == (slot, run.id, 0)
    assert record.status == "pending"
    assert record.lateness is not None
    assert 0 < record.lateness < 10
    cron.refresh_from_db()
    assert cron.next_run_date is not None
    assert cron.next_run_date > database_now()


def test_a_cron_that_keeps_gets_a_thread_of_its_own(
    make_cron: MakeCron, make_due: MakeDue
) -> None:
    cron = make_cron(on_run_completed="keep", metadata={"kind": "x"})
    make_due(cron)

    firing.fire_due()

    run = Run.objects.get()
    assert not run.is_temporary
    assert run.thread.metadata["kind"] == "x"


def test_a_context_reaches_the_graph_without_the_crons_id(
    make_cron: MakeCron, make_due: MakeDue
) -> None:
    cron = make_cron(context={"model": "m"})
    make_due(cron)

    firing.fire_due()

    kwargs = Run.objects.get().kwargs
    assert kwargs["context"] == {"model": "m"}
    assert kwargs["config"]["configurable"] == {"model": "m", "cron_id": str(cron.id)}


def test_downtime_fires_once_and_counts_what_was_missed(
    make_cron: MakeCron, make_due: MakeDue
) -> None:
    cron = make_cron(schedule="*/10 * * * * *")
    make_due(cron, seconds=65)
    Cron.objects.update(next_run_date=cron.next_run_date)

    firing.fire_due()

    assert Run.objects.count() == 1
    missed = cron.firings.get().missed
    assert missed in (6, 7)
    cron.refresh_from_db()
    assert cron.missed == missed
    assert cron.next_run_date is not None
    assert cron.next_run_date > database_now() - timedelta(seconds=1)


def test_years_of_downtime_take_no_time(make_cron: MakeCron, make_due: MakeDue) -> None:
    cron = make_cron(schedule="* * * * * *")
    make_due(cron, seconds=10**8)

    firing.fire_due()

    assert cron.firings.get().missed == firing.MOST_COUNTED
    cron.refresh_from_db()
    assert cron.next_run_date is not None
    assert cron.next_run_date > database_now() - timedelta(seconds=5)


def test_a_cron_past_its_end_never_fires(
    make_cron: MakeCron, make_due: MakeDue
) -> None:
    cron = make_cron()
    make_due(cron, seconds=600)
    Cron.objects.update(end_time=database_now() - timedelta(seconds=300))

    firing.fire_due()

    assert not Run.objects.exists()
    cron.refresh_from_db()
    assert not cron.enabled
    assert cron.disabled_reason == "end_time has passed"


def test_the_last_slot_before_the_end_fires_and_disables(
    make_cron: MakeCron, make_due: MakeDue
) -> None:
    cron = make_cron()
    make_due(cron)
    Cron.objects.update(end_time=cron.next_run_date)

    firing.fire_due()

    assert Run.objects.count() == 1
    cron.refresh_from_db()
    assert not cron.enabled
    assert cron.disabled_reason == "the schedule has no slot left before end_time"


def test_a_cron_that_ends_at_the_end_of_time_fires(
    make_cron: MakeCron, make_due: MakeDue
) -> None:
    cron = make_cron(end_time="9999-12-31T23:59:59Z")
    make_due(cron)

    firing.fire_due()

    assert Run.objects.count() == 1
    cron.refresh_from_db()
    assert (cron.enabled, cron.disabled_reason) == (True, "")


def test_a_cron_whose_thread_is_gone_is_disabled(
    alice_client: Any, make_cron: MakeCron, make_due: MakeDue, thread: Thread
) -> None:
    cron = make_cron(thread)
    make_due(cron)
    thread_id = thread.id
    thread.delete()

    firing.fire_due()

    shown = alice_client.call("get", f"/runs/crons/{cron.id}").json()
    assert shown["enabled"] is False
    assert shown["next_run_date"] is None
    assert shown["disabled_reason"] == f"Thread {thread_id} is gone"
    record = cron.firings.get()
    assert (record.run_id, record.status) == (None, "error")
    assert record.error == f"Thread {thread_id} is gone"


def test_a_cron_whose_assistant_is_gone_is_disabled(
    make_cron: MakeCron, make_due: MakeDue
) -> None:
    assistant = Assistant.objects.create(graph_id="echo", metadata={"owner": "alice"})
    cron = make_cron(assistant_id=str(assistant.id))
    make_due(cron)
    Assistant.objects.filter(pk=assistant.pk).delete()

    firing.fire_due()

    cron.refresh_from_db()
    assert not cron.enabled
    assert cron.disabled_reason == f"Assistant {assistant.id} is gone"
    assert not Thread.objects.exists()


def test_a_cron_whose_checkpoint_is_gone_says_so(
    make_cron: MakeCron, make_due: MakeDue, thread: Thread
) -> None:
    cron = make_cron(thread)
    make_due(cron)
    missing = "1f0c8a52-0000-6000-8000-000000000000"
    Cron.objects.update(payload={**cron.payload, "checkpoint_id": missing})

    firing.fire_due()

    cron.refresh_from_db()
    assert not cron.enabled
    assert cron.disabled_reason == f"Checkpoint {missing} not found"


def test_a_thread_with_a_new_owner_is_gone(
    make_cron: MakeCron, make_due: MakeDue, thread: Thread
) -> None:
    cron = make_cron(thread)
    make_due(cron)
    Thread.objects.update(metadata={"owner": "bob"})

    firing.fire_due()

    assert not Run.objects.exists()
    cron.refresh_from_db()
    assert not cron.enabled


def test_a_busy_thread_costs_the_slot_of_a_cron_that_rejects(
    make_cron: MakeCron, make_due: MakeDue, thread: Thread
) -> None:
    cron = make_cron(thread, multitask_strategy="reject")
    firing.run_now(cron)
    make_due(cron)

    firing.fire_due()

    record = cron.firings.newest_first()[0]
    assert record.status == "error"
    assert record.error.startswith("Thread is already running a task.")
    cron.refresh_from_db()
    assert cron.enabled


def test_a_busy_thread_makes_the_others_wait(
    make_cron: MakeCron, make_due: MakeDue, thread: Thread
) -> None:
    cron = make_cron(thread)
    firing.run_now(cron)
    make_due(cron)

    firing.fire_due()

    assert thread.runs.pending().count() == 2


def test_an_owner_of_too_many_runs_loses_the_slot_and_nothing_else(
    alice_client: Any, make_cron: MakeCron, make_due: MakeDue, settings: Any
) -> None:
    settings.MAX_RUNS_PER_OWNER = 1
    firing.run_now(make_cron())

    cron = make_cron()
    make_due(cron)
    firing.fire_due()

    assert Run.objects.count() == 1
    assert "At most 1 runs at once" in cron.firings.get().error
    cron.refresh_from_db()
    assert cron.enabled
    run = alice_client.call("post", f"/runs/crons/{cron.id}/run")
    assert run.status_code == 429


@pytest.mark.parametrize("wrong", [KeyError("x"), BadRequest("x"), ValueError("x")])
def test_a_bad_cron_holds_up_nobody(
    make_cron: MakeCron,
    make_due: MakeDue,
    monkeypatch: pytest.MonkeyPatch,
    wrong: Exception,
) -> None:
    bad, good = make_cron(), make_cron()
    make_due(bad, seconds=3)
    make_due(good)

    def make_run(cron: Cron) -> Run:
        if cron.id == bad.id:
            # Whatever it wrote before it failed goes too.
            Thread.objects.create()
            raise wrong
        return services.make_run(cron)

    monkeypatch.setattr(firing, "make_run", make_run)

    firing.fire_due()

    assert Run.objects.count() == Thread.objects.count() == 1
    assert good.firings.get().run_id is not None
    record = bad.firings.get()
    assert (record.run_id, record.status) == (None, "error")
    bad.refresh_from_db()
    assert bad.enabled
    assert bad.next_run_date is not None
    assert bad.next_run_date > database_now()


def test_a_lock_that_was_not_to_be_had_costs_no_slot(
    make_cron: MakeCron, make_due: MakeDue, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad, good = make_cron(), make_cron()
    make_due(bad, seconds=3)
    make_due(good)

    def make_run(cron: Cron) -> Run:
        if cron.id == bad.id:
            raise OperationalError("deadlock detected")
        return services.make_run(cron)

    with monkeypatch.context() as patch:
        patch.setattr(firing, "make_run", make_run)
        firing.fire_due()
    assert [record.cron_id for record in CronFiring.objects.all()] == [good.id]
    firing.fire_due()

    assert bad.firings.get().run_id is not None


@pytest.mark.parametrize(
    "broken", [{"schedule": "nonsense"}, {"timezone": "Mars/Olympus"}]
)
def test_a_schedule_that_has_become_wrong_is_disabled(
    make_cron: MakeCron, make_due: MakeDue, broken: dict[str, str]
) -> None:
    bad, good = make_cron(), make_cron()
    make_due(bad)
    make_due(good)
    Cron.objects.filter(pk=bad.pk).update(**broken)

    firing.fire_due()

    bad.refresh_from_db()
    assert not bad.enabled
    assert bad.disabled_reason.startswith("schedule: ")
    assert good.firings.exists()


def test_a_slot_that_has_fired_does_not_fire_again(
    make_cron: MakeCron, make_due: MakeDue
) -> None:
    cron = make_cron(schedule="@yearly")
    make_due(cron)
    CronFiring.objects.create(cron=cron, slot=cron.next_run_date, status="success")

    firing.fire_due()
    firing.fire_due()

    assert not Run.objects.exists()
    cron.refresh_from_db()
    # And the slot after it is not passed over.
    assert cron.next_run_date == next_slot("@yearly", None, after=database_now())


def test_a_cron_that_fails_outside_of_its_run_is_disabled(
    make_cron: MakeCron, make_due: MakeDue, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad, good = make_cron(), make_cron()
    make_due(bad, seconds=3)
    make_due(good)

    def next_run(cron: Cron, **when: Any) -> Any:
        if cron.id == bad.id:
            raise OverflowError
        return services.next_run(cron, **when)

    monkeypatch.setattr(firing, "next_run", next_run)

    firing.fire_due()

    assert [record.cron_id for record in CronFiring.objects.all()] == [good.id]
    assert Run.objects.count() == 1
    bad.refresh_from_db()
    assert not bad.enabled
    assert bad.disabled_reason == "schedule: its next slot could not be found"


def test_a_tick_holds_one_request_at_a_time(
    make_cron: MakeCron, make_due: MakeDue
) -> None:
    """Fifty of the longest that may be made would be the end of the worker."""
    for _ in range(3):
        make_due(make_cron())

    with CaptureQueriesContext(connection) as queries:
        firing.fire_due()

    takes = [one["sql"] for one in queries if "SKIP LOCKED" in one["sql"]]
    assert takes
    assert not any("payload" in take for take in takes)
    assert Run.objects.count() == 3


def test_a_backlog_is_for_several_ticks(
    make_cron: MakeCron, make_due: MakeDue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(firing, "BATCH", 1)
    monkeypatch.setattr(firing, "MOST_BATCHES", 2)
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


def test_a_cron_that_interrupts_makes_way_for_itself(
    make_cron: MakeCron, make_due: MakeDue, thread: Thread
) -> None:
    cron = make_cron(thread, multitask_strategy="interrupt")
    before = firing.run_now(cron)
    make_due(cron)

    firing.fire_due()

    before.refresh_from_db()
    assert before.status == "interrupted"
    assert thread.runs.pending().get().id == cron.firings.get(slot__isnull=False).run_id


def test_a_cron_that_rolls_back_takes_its_last_run_away(
    make_cron: MakeCron, make_due: MakeDue, thread: Thread
) -> None:
    cron = make_cron(thread, multitask_strategy="rollback")
    before = firing.run_now(cron)
    make_due(cron)

    firing.fire_due()

    assert thread.runs.get().id == cron.firings.get(slot__isnull=False).run_id
    assert not Run.objects.filter(pk=before.pk).exists()


def test_a_run_by_the_clock_is_made_as_it_was_asked_for(
    make_cron: MakeCron, make_due: MakeDue
) -> None:
    cron = make_cron(
        stream_mode=["updates", "custom"],
        stream_subgraphs=True,
        stream_resumable=True,
        durability="exit",
        interrupt_before=["echo"],
        config={"tags": ["t"], "recursion_limit": 7, "configurable": {"model": "m"}},
        multitask_strategy="rollback",
    )
    make_due(cron)

    firing.fire_due()

    run = Run.objects.get()
    assert run.multitask_strategy == "rollback"
    kwargs = run.kwargs
    assert kwargs["stream_mode"] == ["updates", "custom"]
    assert (kwargs["subgraphs"], kwargs["resumable"]) == (True, True)
    assert (kwargs["durability"], kwargs["interrupt_before"]) == ("exit", ["echo"])
    assert kwargs["config"] == {
        "tags": ["t"],
        "recursion_limit": 7,
        "configurable": {"model": "m", "cron_id": str(cron.id)},
    }


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

    # The clock, a savepoint, the due, the release, and the results.
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
    """Millions of old ones cost a tick nothing."""
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")

    plan = plan_of(statement)

    assert "cron_firings_active" in indexes_in(plan)
    scanned = [node for node in plan if node["Node Type"] == "Seq Scan"]
    assert "cron_firings" not in {node["Relation Name"] for node in scanned}


def test_the_schema_of_the_api_has_the_crons() -> None:
    schema = DjangoClient().get("/openapi.json").content.decode()

    for ours in ("{cron_id}/firings", "{cron_id}/run", "preview"):
        assert f'"/runs/crons/{ours}"' in schema
