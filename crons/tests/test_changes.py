"""Changing, pausing and resuming crons."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from spool.assistants.tests.served import forget_graphs
from spool.crons import services
from spool.crons.models import Cron
from spool.crons.schedule import next_slot
from spool.crons.services import database_now
from spool.crons.tests.conftest import MakeCron
from spool.threads.models import Thread

pytestmark = pytest.mark.django_db


def test_patch_changes_only_what_it_names(
    alice_client: Any, make_cron: MakeCron
) -> None:
    cron = make_cron(
        input={"a": 1}, webhook=None, metadata={"kind": "x"}, on_run_completed="keep"
    )

    response = alice_client.call(
        "patch",
        f"/runs/crons/{cron.id}",
        {"input": {"a": 2}, "metadata": {"more": True, "owner": "bob"}},
    )

    assert response.status_code == 200
    changed = response.json()
    assert changed["payload"]["input"] == {"a": 2}
    assert changed["payload"]["schedule"] == "0 0 1 1 *"
    assert changed["metadata"] == {"kind": "x", "more": True, "owner": "alice"}
    assert changed["on_run_completed"] == "keep"
    assert changed["updated_at"] > changed["created_at"]
    cron.refresh_from_db()
    assert changed["next_run_date"] == cron.next_run_date.isoformat()  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("change", "schedule", "timezone"),
    [
        ({"schedule": "0 9 * * *"}, "0 9 * * *", "Asia/Kolkata"),
        ({"timezone": "America/New_York"}, "0 12 * * *", "America/New_York"),
        ({"timezone": None}, "0 12 * * *", None),
    ],
)
def test_patch_of_the_schedule_moves_the_next_run(
    alice_client: Any,
    make_cron: MakeCron,
    change: dict[str, Any],
    schedule: str,
    timezone: str | None,
) -> None:
    cron = make_cron(schedule="0 12 * * *", timezone="Asia/Kolkata")

    response = alice_client.call("patch", f"/runs/crons/{cron.id}", change)

    expected = next_slot(schedule, timezone, after=database_now())
    assert response.json()["next_run_date"] == expected.isoformat()  # type: ignore[union-attr]


def test_pause_and_resume(alice_client: Any, make_cron: MakeCron) -> None:
    path = f"/runs/crons/{make_cron().id}"

    paused = alice_client.call("patch", path, {"enabled": False}).json()
    resumed = alice_client.call("patch", path, {"enabled": True}).json()

    assert (paused["enabled"], paused["next_run_date"]) == (False, None)
    assert resumed["enabled"] is True
    assert resumed["next_run_date"] > datetime.now(UTC).isoformat()


def test_patch_clears_the_end(alice_client: Any, make_cron: MakeCron) -> None:
    cron = make_cron(end_time="2126-01-01T00:00:00Z")

    response = alice_client.call("patch", f"/runs/crons/{cron.id}", {"end_time": None})

    assert response.json()["end_time"] is None


def test_a_patch_leaves_a_slot_that_is_due(
    alice_client: Any, make_cron: MakeCron, make_due: Callable[..., None]
) -> None:
    cron = make_cron()
    make_due(cron)

    alice_client.call("patch", f"/runs/crons/{cron.id}", {"metadata": {"a": 1}})

    assert Cron.objects.due(database_now()).filter(pk=cron.pk).exists()


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({}, 400),
        ([], 422),
        ({"schedule": "nonsense"}, 422),
        ({"schedule": None}, 422),
        ({"enabled": None}, 422),
        ({"timezone": "nonsense"}, 422),
        ({"end_time": "nonsense"}, 422),
        ({"end_time": "2020-01-01T00:00:00Z"}, 422),
        ({"metadata": "nonsense"}, 422),
        ({"assistant_id": "nonsense"}, 422),
        ({"assistant_id": "7a0c1f5e-0000-4000-8000-000000000000"}, 404),
    ],
)
def test_a_bad_patch_changes_nothing(
    alice_client: Any, make_cron: MakeCron, change: Any, status: int
) -> None:
    cron = make_cron()
    before = Cron.objects.values().get()

    response = alice_client.call("patch", f"/runs/crons/{cron.id}", change)

    assert response.status_code == status
    assert Cron.objects.values().get() == before


def test_a_cron_whose_thread_is_gone_can_be_paused_but_not_resumed(
    alice_client: Any, make_cron: MakeCron, thread: Thread
) -> None:
    path = f"/runs/crons/{make_cron(thread).id}"
    thread.delete()

    paused = alice_client.call("patch", path, {"enabled": False})
    resumed = alice_client.call("patch", path, {"enabled": True})

    assert paused.status_code == 200
    assert resumed.status_code == 404
    assert not Cron.objects.get().enabled


def test_a_cron_whose_graph_is_gone_can_be_looked_after(
    alice_client: Any, make_cron: MakeCron, graphs: Path
) -> None:
    path = f"/runs/crons/{make_cron().id}"
    served = graphs.read_text()
    try:
        graphs.write_text(served.replace('"echo"', '"other"'))
        forget_graphs()
        noted = alice_client.call("patch", path, {"metadata": {"gone": True}})
        moved = alice_client.call("patch", path, {"schedule": "@daily"})
        changed = alice_client.call("patch", path, {"input": "other"})
    finally:
        graphs.write_text(served)
        forget_graphs()

    assert noted.json()["metadata"] == {"owner": "alice", "gone": True}
    assert noted.json()["payload"]["assistant_id"] == "echo"
    assert moved.json()["schedule"] == "@daily"
    assert changed.status_code == 422
    assert "no longer in langgraph.json" in changed.json()["detail"]


def test_only_being_enabled_clears_the_reason(
    alice_client: Any,
    make_cron: MakeCron,
    make_due: Callable[..., None],
    thread: Thread,
) -> None:
    cron = make_cron()
    services.pause(cron=cron, reason="too dear")
    path = f"/runs/crons/{cron.id}"

    changed = alice_client.call("patch", path, {"schedule": "0 9 * * *"}).json()
    enabled = alice_client.call("patch", path, {"enabled": True}).json()

    assert (changed["enabled"], changed["disabled_reason"]) == (False, "too dear")
    assert (enabled["enabled"], enabled["disabled_reason"]) == (True, None)
