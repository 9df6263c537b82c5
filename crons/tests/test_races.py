"""Concurrent ticks and callers."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
from django.db import transaction

from spool.access.policy import authorize
from spool.crons import firing, services
from spool.crons.cron_request import CronChanges
from spool.crons.models import Cron, CronFiring
from spool.crons.tests.conftest import MakeCron, MakeDue
from spool.database.tests.locks import answer_behind
from spool.database.tests.together import at_once
from spool.runs import lifecycle
from spool.runs.models import Run
from spool.threads.models import Thread

pytestmark = pytest.mark.django_db(transaction=True)


def test_many_ticks_at_once_fire_each_slot_once(
    make_cron: MakeCron, make_due: MakeDue, thread: Thread
) -> None:
    crons = [make_cron(), make_cron(thread), *(make_cron() for _ in range(8))]
    for cron in crons:
        make_due(cron)

    fired = at_once([firing.fire_due] * 6)

    assert sum(fired) == len(crons)
    assert Run.objects.count() == len(crons)
    assert {firing.cron_id for firing in CronFiring.objects.all()} == {
        cron.id for cron in crons
    }


def test_a_locked_thread_does_not_delay_other_crons(
    make_cron: MakeCron, make_due: MakeDue, thread: Thread
) -> None:
    held, free = make_cron(thread), make_cron()
    make_due(held, seconds=3)
    make_due(free)

    with transaction.atomic():
        lifecycle.lock_thread(thread.id)
        at_once([firing.fire_due])
        assert [record.cron_id for record in CronFiring.objects.all()] == [free.id]
    firing.fire_due()

    assert held.firings.get().run_id is not None


def test_crons_that_cannot_fire_do_not_use_up_the_tick(
    make_cron: MakeCron,
    make_due: MakeDue,
    thread: Thread,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(firing, "BATCH", 1)
    monkeypatch.setattr(firing, "MAX_BATCHES", 2)
    for _ in range(3):
        make_due(make_cron(thread), seconds=5)
    free = [make_cron() for _ in range(3)]
    for cron in free:
        make_due(cron)

    with transaction.atomic():
        lifecycle.lock_thread(thread.id)
        fired = [at_once([firing.fire_due]) for _ in range(3)]
        records = {record.cron_id for record in CronFiring.objects.all()}

    assert fired == [[2], [1], [0]]
    assert records == {cron.id for cron in free}


@pytest.mark.parametrize("batch", [2, 50])
def test_a_tick_waits_once_for_a_thread_that_is_locked(
    make_cron: MakeCron,
    make_due: MakeDue,
    thread: Thread,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    batch: int,
) -> None:
    monkeypatch.setattr(firing, "BATCH", batch)
    crons = [make_cron(thread) for _ in range(5)]
    for cron in crons:
        make_due(cron)

    with transaction.atomic():
        lifecycle.lock_thread(thread.id)
        held = at_once([firing.fire_due])
        waits = [one for one in caplog.messages if "waits for the next tick" in one]
    fired = firing.fire_due()

    assert (held, len(waits)) == ([0], 1)
    assert fired == len(crons)


@pytest.mark.parametrize(("method", "path"), [("delete", ""), ("post", "/run")])
def test_a_call_about_a_cron_that_is_firing_waits_for_the_tick(
    alice_client: Any, make_cron: MakeCron, make_due: MakeDue, method: str, path: str
) -> None:
    cron = make_cron()
    make_due(cron)
    path = f"/runs/crons/{cron.id}{path}"

    response = answer_behind(firing.fire_due, lambda: alice_client.call(method, path))

    assert response.status_code in (200, 204)


def test_run_now_of_a_cron_that_is_being_deleted_is_missing(
    alice_client: Any, make_cron: MakeCron
) -> None:
    cron = make_cron()

    response = answer_behind(
        Cron.objects.get(pk=cron.pk).delete,
        lambda: alice_client.call("post", f"/runs/crons/{cron.id}/run"),
    )

    assert response.status_code == 404
    assert not Run.objects.exists()


@pytest.mark.parametrize(
    ("first", "method", "body"),
    [
        ({"input": "dear"}, "patch", {"assistant_id": "echo"}),
        ({"input": "dear"}, "patch", {"schedule": "@daily"}),
        ({"metadata": {"a": 1}}, "patch", {"metadata": {"b": 2}}),
        ({"input": "dear"}, "post", None),
    ],
)
def test_what_is_done_is_what_the_policy_was_asked_about(
    alice_client: Any,
    make_cron: MakeCron,
    monkeypatch: pytest.MonkeyPatch,
    first: dict[str, Any],
    method: str,
    body: Any,
) -> None:
    """Even if the cron is changed after the policy has answered."""
    cron = make_cron(input="cheap")
    path = f"/runs/crons/{cron.id}" + ("/run" if method == "post" else "")
    asked: list[Any] = []

    def note(request: Any, event: str, value: dict[str, Any]) -> Any:
        if event == "threads.create_run":
            asked.append((value["kwargs"]["input"], dict(value["metadata"])))
        return authorize(request, event, value)

    monkeypatch.setattr("spool.runs.requests.authorize", note)
    stamp = first.get("metadata", {})

    response = answer_behind(
        lambda: services.update_cron(cron, CronChanges(first, stamp)),
        lambda: alice_client.call(method, path, body),
    )

    assert response.status_code == 200
    cron.refresh_from_db()
    told = {"input": cron.payload["input"], "metadata": cron.metadata}
    # Called once with the old values, and again with the changed ones.
    assert [told_of for told_of, _ in asked] == ["cheap", told["input"]]
    assert first.items() <= told.items() or stamp.items() <= cron.metadata.items()
    assert asked[-1][1].items() >= cron.metadata.items()


def test_a_cron_that_changes_all_the_while_is_left_alone(
    alice_client: Any, make_cron: MakeCron, monkeypatch: pytest.MonkeyPatch
) -> None:
    cron = make_cron(input=0)

    def change(request: Any, event: str, value: dict[str, Any]) -> Any:
        if event == "threads.create_run":
            now = Cron.objects.get(pk=cron.pk)
            given = {"input": now.payload["input"] + 1}
            services.update_cron(now, CronChanges(given, {}))
        return authorize(request, event, value)

    monkeypatch.setattr("spool.runs.requests.authorize", change)
    changed = alice_client.call("patch", f"/runs/crons/{cron.id}", {"metadata": {}})
    run = alice_client.call("post", f"/runs/crons/{cron.id}/run")

    assert (changed.status_code, run.status_code) == (409, 409)
    assert not Run.objects.exists()


@pytest.mark.parametrize(
    ("first", "method", "body"),
    [
        ({"input": "dear"}, "patch", {"enabled": False}),
        ({"schedule": "@daily"}, "patch", {"input": "cheaper"}),
        ({"enabled": False}, "post", None),
    ],
)
def test_what_no_policy_looks_at_may_change_in_between(
    alice_client: Any, make_cron: MakeCron, first: Any, method: str, body: Any
) -> None:
    cron = make_cron(input="cheap")
    path = f"/runs/crons/{cron.id}" + ("/run" if method == "post" else "")

    response = answer_behind(
        lambda: services.update_cron(cron, CronChanges(first, {})),
        lambda: alice_client.call(method, path, body),
    )

    assert response.status_code == 200


def test_a_change_during_a_tick_is_not_lost(
    alice_client: Any, make_cron: MakeCron, make_due: MakeDue
) -> None:
    """A tick skips crons that are being changed, and does not wait for them."""
    cron = make_cron()
    make_due(cron)

    with transaction.atomic():
        Cron.objects.select_for_update().get(pk=cron.pk)
        (fired,) = at_once([firing.fire_due])

    assert fired == 0
    assert firing.fire_due() == 1


def test_thirty_changes_at_once_are_all_there(make_cron: MakeCron) -> None:
    cron = make_cron()

    def change(number: int) -> None:
        stamp = {f"key{number}": 1}
        services.update_cron(cron, CronChanges({"metadata": stamp}, stamp))

    at_once([partial(change, number) for number in range(30)])

    cron.refresh_from_db()
    assert len(cron.metadata) == 31
