from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.db import OperationalError

from spool.crons import firing, services, slots, together
from spool.crons.models import Cron, CronFiring
from spool.crons.schedule import next_slot
from spool.crons.services import database_now
from spool.crons.tests.conftest import MakeCron, MakeDue
from spool.runs.models import Run
from spool.runs.run_request import RunRequest
from spool.threads.models import Thread
from spool.web.errors import BadRequest

pytestmark = pytest.mark.django_db


@pytest.fixture(params=["together", "alone"], autouse=True)
def _way_to_fire(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Crons do the same whether they are fired with others or one by one."""
    room = {"together": together.MAX_BYTES, "alone": 0}
    monkeypatch.setattr(together, "MAX_BYTES", room[request.param])


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
    before = database_now()

    firing.fire_due()

    assert Run.objects.count() == 1
    missed = cron.firings.get().missed
    assert missed in (6, 7)
    cron.refresh_from_db()
    assert cron.missed == missed
    assert cron.next_run_date is not None
    assert cron.next_run_date > before


@pytest.mark.parametrize(
    ("catch_up", "fired"), [("once", 1), ("skip", 0), (3, 3), (9, 7)]
)
def test_missed_slots_are_caught_up_with_as_the_cron_says(
    make_cron: MakeCron, make_due: MakeDue, catch_up: Any, fired: int
) -> None:
    cron = make_cron(schedule="30 * * * *", catch_up=catch_up)
    slot = next_slot("30 * * * *", None, after=database_now() - timedelta(hours=7))
    Cron.objects.update(next_run_date=slot)

    assert [firing.fire_due(), firing.fire_due()] == [max(fired, 1), 0]

    assert Run.objects.count() == fired
    slots = sorted(firing.slot for firing in cron.firings.all() if firing.slot)
    assert len(slots) == fired
    cron.refresh_from_db()
    assert cron.missed == 7 - fired
    assert cron.next_run_date is not None
    assert cron.next_run_date > database_now()
    # The newest slots fire. With `once`, the oldest one stands for all later ones.
    if isinstance(catch_up, int):
        assert slots[-1] > database_now() - timedelta(hours=1)


def test_a_cron_that_skips_fires_on_time(
    make_cron: MakeCron, make_due: MakeDue
) -> None:
    cron = make_cron(catch_up="skip")
    make_due(cron, seconds=5)

    firing.fire_due()

    assert Run.objects.count() == 1
    cron.refresh_from_db()
    assert cron.missed == 0


@pytest.mark.parametrize("catch_up", ["skip", 2])
def test_years_of_downtime_take_no_time_to_catch_up(
    make_cron: MakeCron, make_due: MakeDue, catch_up: Any
) -> None:
    cron = make_cron(schedule="* * * * * *", catch_up=catch_up)
    make_due(cron, seconds=10**8)
    before = database_now()

    firing.fire_due()

    assert 1 <= Run.objects.count() <= 3
    cron.refresh_from_db()
    assert cron.missed >= slots.MAX_COUNTED
    assert cron.next_run_date is not None
    assert cron.next_run_date > before


def test_years_of_downtime_take_no_time(make_cron: MakeCron, make_due: MakeDue) -> None:
    cron = make_cron(schedule="* * * * * *")
    make_due(cron, seconds=10**8)
    before = database_now()

    firing.fire_due()

    assert cron.firings.get().missed == slots.MAX_COUNTED
    cron.refresh_from_db()
    assert cron.next_run_date is not None
    assert cron.next_run_date > before


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
    assert "At most 1 runs at a time" in cron.firings.get().error
    cron.refresh_from_db()
    assert cron.enabled
    run = alice_client.call("post", f"/runs/crons/{cron.id}/run")
    assert run.status_code == 429


@pytest.mark.parametrize("wrong", [KeyError("x"), BadRequest("x"), ValueError("x")])
def test_a_bad_cron_does_not_delay_others(
    make_cron: MakeCron,
    make_due: MakeDue,
    monkeypatch: pytest.MonkeyPatch,
    wrong: Exception,
) -> None:
    bad, good = make_cron(), make_cron()
    make_due(bad, seconds=3)
    make_due(good)

    good_request = services.run_request(good)

    def run_request(cron: Cron) -> RunRequest:
        if cron.id == bad.id:
            raise wrong
        return good_request

    monkeypatch.setattr(services, "run_request", run_request)

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

    good_request = services.run_request(good)

    def run_request(cron: Cron) -> RunRequest:
        if cron.id == bad.id:
            # Rows written before the failure are rolled back.
            Thread.objects.create()
            raise OperationalError("deadlock detected")
        return good_request

    with monkeypatch.context() as patch:
        patch.setattr(services, "run_request", run_request)
        firing.fire_due()
    assert [record.cron_id for record in CronFiring.objects.all()] == [good.id]
    assert Thread.objects.count() == 1
    firing.fire_due()

    assert bad.firings.get().run_id is not None


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
    # The slot after it is not skipped.
    assert cron.next_run_date == next_slot("@yearly", None, after=database_now())


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
