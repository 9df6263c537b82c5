"""Crons that are disabled, with a reason."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from spool.assistants.models import Assistant
from spool.crons import firing, services, slots
from spool.crons.models import Cron, CronFiring
from spool.crons.services import database_now
from spool.crons.tests.conftest import MakeCron, MakeDue
from spool.runs.models import Run
from spool.threads.models import Thread

pytestmark = pytest.mark.django_db


def why_disabled(cron: Cron) -> str:
    cron.refresh_from_db()
    assert not cron.enabled
    return cron.disabled_reason


def test_a_cron_past_its_end_never_fires(
    make_cron: MakeCron, make_due: MakeDue
) -> None:
    cron = make_cron()
    make_due(cron, seconds=600)
    Cron.objects.update(end_time=database_now() - timedelta(seconds=300))

    firing.fire_due()

    assert not Run.objects.exists()
    assert why_disabled(cron) == "end_time has passed"


def test_the_last_slot_before_the_end_fires_and_disables(
    make_cron: MakeCron, make_due: MakeDue
) -> None:
    cron = make_cron()
    make_due(cron)
    Cron.objects.update(end_time=cron.next_run_date)

    firing.fire_due()

    assert Run.objects.count() == 1
    assert why_disabled(cron) == "the schedule has no slot before end_time"


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

    assert why_disabled(cron) == f"Assistant {assistant.id} is gone"
    assert not Thread.objects.exists()


def test_a_cron_whose_checkpoint_is_gone_says_so(
    make_cron: MakeCron, make_due: MakeDue, thread: Thread
) -> None:
    cron = make_cron(thread)
    make_due(cron)
    missing = "1f0c8a52-0000-6000-8000-000000000000"
    Cron.objects.update(payload={**cron.payload, "checkpoint_id": missing})

    firing.fire_due()

    assert why_disabled(cron) == f"Checkpoint {missing} not found"


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

    assert why_disabled(bad).startswith("schedule: ")
    assert good.firings.exists()


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

    monkeypatch.setattr(slots, "next_run", next_run)

    firing.fire_due()

    assert [record.cron_id for record in CronFiring.objects.all()] == [good.id]
    assert Run.objects.count() == 1
    assert why_disabled(bad) == "schedule: could not compute its next slot"
