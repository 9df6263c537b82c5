from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.test import Client as DjangoClient

from spool.access.keys import create_key
from spool.access.tests.people import Client, Person
from spool.assistants.models import Assistant
from spool.assistants.services import system_assistant_id
from spool.crons.models import Cron, CronFiring
from spool.crons.schedule import next_slot
from spool.crons.services import database_now, make_run
from spool.crons.tests.conftest import MakeCron
from spool.database.ids import uuid7
from spool.runs.models import Run
from spool.threads.models import Thread

pytestmark = pytest.mark.django_db

BODY = {"assistant_id": "echo", "schedule": "0 9 * * 1"}


# --- Order of keys --------------------------------------------------------------------
ORDERED = {"zeta": {"y": 1, "b": 2}, "alpha": 3}


def test_the_input_keeps_the_order_of_its_keys(alice_client: Any) -> None:
    made = alice_client.call("post", "/runs/crons", {**BODY, "input": ORDERED}).json()
    [found] = alice_client.call("post", "/runs/crons/search", {}).json()
    cron = Cron.objects.get()

    run = make_run(cron)

    for given in (made["payload"], found["payload"], run.kwargs):
        assert json.dumps(given["input"]) == json.dumps(ORDERED)


def test_an_older_process_may_change_the_input(alice_client: Any) -> None:
    alice_client.call("post", "/runs/crons", {**BODY, "input": ORDERED})
    payload = {**Cron.objects.get().payload, "input": {"alpha": 4}}
    # An older process doesn't know `given`.
    Cron.objects.update(payload=payload)

    assert Cron.objects.get().payload["input"] == {"alpha": 4}


# --- Create -------------------------------------------------------------------------
def test_create_answers_with_the_cron(alice_client: Any) -> None:
    body = {
        **BODY,
        "input": {"text": "hi"},
        "metadata": {"kind": "weekly"},
        "config": {"tags": ["a"], "configurable": {"model": "m"}},
        "timezone": "America/New_York",
        "end_time": "2126-01-01T00:00:00+02:00",
        "stream_mode": ["values", "updates"],
        "interrupt_before": ["echo"],
        "durability": "sync",
    }

    response = alice_client.call("post", "/runs/crons", body)

    assert response.status_code == 200
    cron = response.json()
    expected = next_slot("0 9 * * 1", "America/New_York", after=database_now())
    assert expected is not None
    assert cron == {
        "cron_id": cron["cron_id"],
        "assistant_id": str(system_assistant_id("echo")),
        "thread_id": None,
        "user_id": "alice",
        "end_time": "2125-12-31T22:00:00.000000+00:00",
        "schedule": "0 9 * * 1",
        "timezone": "America/New_York",
        "payload": {
            **body,
            "metadata": {"kind": "weekly", "owner": "alice"},
            "config": {
                "tags": ["a"],
                "configurable": {"model": "m", "cron_id": cron["cron_id"]},
            },
        },
        "next_run_date": expected.isoformat(),
        "metadata": {"kind": "weekly", "owner": "alice"},
        "on_run_completed": "delete",
        "enabled": True,
        "catch_up": "once",
        "disabled_reason": None,
        "created_at": cron["created_at"],
        "updated_at": cron["updated_at"],
    }
    assert not Run.objects.exists()
    assert not Thread.objects.exists()


def test_what_becomes_of_missed_slots_is_kept_and_changed(alice_client: Any) -> None:
    made = alice_client.call("post", "/runs/crons", {**BODY, "catch_up": 5}).json()
    path = f"/runs/crons/{made['cron_id']}"

    other = alice_client.call("patch", path, {"metadata": {"a": 1}}).json()
    changed = alice_client.call("patch", path, {"catch_up": "skip"}).json()

    assert [one["catch_up"] for one in (made, other, changed)] == [5, 5, "skip"]
    assert changed["payload"]["catch_up"] == "skip"
    select = {"select": ["catch_up"]}
    found = alice_client.call("post", "/runs/crons/search", select).json()
    assert found == [{"catch_up": "skip"}]


def test_create_for_a_thread_has_nothing_to_delete(
    alice_client: Any, thread: Thread
) -> None:
    response = alice_client.call("post", f"/threads/{thread.id}/runs/crons", BODY)

    assert response.status_code == 200
    assert response.json()["thread_id"] == str(thread.id)
    assert response.json()["on_run_completed"] is None


def test_create_disabled_has_no_next_run(alice_client: Any) -> None:
    response = alice_client.call("post", "/runs/crons", {**BODY, "enabled": False})

    assert response.json()["enabled"] is False
    assert response.json()["next_run_date"] is None


def test_create_keeps_all_of_a_context(alice_client: Any) -> None:
    response = alice_client.call(
        "post", "/runs/crons", {**BODY, "context": {"model": "m"}}
    )

    assert response.status_code == 200
    assert response.json()["payload"]["context"] == {"model": "m"}


@pytest.mark.parametrize(
    ("wrong", "detail"),
    [
        ({"schedule": None}, "schedule: "),
        ({"schedule": "* * *"}, "schedule: '* * *' must have five fields"),
        ({"schedule": "61 * * * *"}, "schedule: '61 * * * *': bad minute"),
        ({"schedule": 5}, "schedule: "),
        ({"assistant_id": None}, "assistant_id: "),
        ({"assistant_id": "unknown"}, "unknown"),
        ({"timezone": "Mars/Olympus"}, "timezone: 'Mars/Olympus' is not the name"),
        ({"end_time": "tomorrow"}, "end_time: "),
        ({"end_time": "2020-01-01T00:00:00Z"}, "end_time: the schedule has no slot"),
        ({"end_time": "0001-01-01T00:00:00+14:00"}, "end_time: "),
        ({"enabled": "perhaps"}, "enabled: "),
        ({"on_run_completed": "explode"}, "on_run_completed: "),
        ({"catch_up": "always"}, "catch_up: must be once, skip, or a number"),
        ({"catch_up": 0}, "catch_up: "),
        ({"catch_up": True}, "catch_up: "),
        ({"on_completion": "keep"}, "on_completion: use on_run_completed"),
        ({"on_disconnect": "cancel"}, "on_disconnect: "),
        ({"stream_mode": "nonsense"}, "stream_mode: "),
        ({"multitask_strategy": "nonsense"}, "multitask_strategy: "),
        ({"metadata": ["a"]}, "metadata: "),
        ({"config": {"configurable": {"a": 1}}, "context": {"b": 2}}, "context"),
    ],
)
def test_create_names_what_is_wrong(
    alice_client: Any, wrong: dict[str, Any], detail: str
) -> None:
    response = alice_client.call("post", "/runs/crons", {**BODY, **wrong})

    assert response.status_code in (400, 422)
    assert detail in response.json()["detail"]
    assert not Cron.objects.exists()


@pytest.mark.parametrize("body", [{}, [], "text", 1, None])
def test_create_needs_an_object_with_its_required_fields(
    alice_client: Any, body: Any
) -> None:
    assert alice_client.call("post", "/runs/crons", body).status_code == 422


def test_the_thread_of_a_cron_is_kept(alice_client: Any, thread: Thread) -> None:
    path = f"/threads/{thread.id}/runs/crons"

    kept = alice_client.call("post", path, {**BODY, "on_run_completed": "keep"})
    deleted = alice_client.call("post", path, {**BODY, "on_run_completed": "delete"})

    assert kept.status_code == 200
    assert kept.json()["on_run_completed"] is None
    assert deleted.status_code == 422
    assert deleted.json()["detail"].startswith("on_run_completed: ")


def test_create_with_missing_thread_or_assistant(alice_client: Any) -> None:
    no_thread = alice_client.call("post", f"/threads/{uuid4()}/runs/crons", BODY)
    bad_thread = alice_client.call("post", "/threads/nonsense/runs/crons", BODY)
    no_assistant = alice_client.call(
        "post", "/runs/crons", {**BODY, "assistant_id": str(uuid4())}
    )

    assert no_thread.status_code == 404
    assert bad_thread.status_code == 422
    assert no_assistant.status_code == 404
    assert not Cron.objects.exists()


def test_create_hides_other_owners_threads_and_assistants(
    bob_client: Any, thread: Thread
) -> None:
    private = Assistant.objects.create(graph_id="echo", metadata={"owner": "alice"})

    on_thread = bob_client.call("post", f"/threads/{thread.id}/runs/crons", BODY)
    with_assistant = bob_client.call(
        "post", "/runs/crons", {**BODY, "assistant_id": str(private.id)}
    )

    assert on_thread.status_code == 404
    assert with_assistant.status_code == 404
    assert not Cron.objects.exists()


def test_create_cannot_write_the_owner(bob_client: Any) -> None:
    response = bob_client.call(
        "post", "/runs/crons", {**BODY, "metadata": {"owner": "alice"}}
    )

    assert response.json()["metadata"] == {"owner": "bob"}


# --- Get, delete --------------------------------------------------------------------
def test_get(alice_client: Any, make_cron: MakeCron) -> None:
    cron = make_cron()

    response = alice_client.call("get", f"/runs/crons/{cron.id}")

    assert response.status_code == 200
    assert response.json()["cron_id"] == str(cron.id)


def test_delete(alice_client: Any, make_cron: MakeCron) -> None:
    cron = make_cron()
    CronFiring.objects.create(cron=cron, status="success")

    response = alice_client.call("delete", f"/runs/crons/{cron.id}")

    assert response.status_code == 204
    assert not Cron.objects.exists()
    assert alice_client.call("delete", f"/runs/crons/{cron.id}").status_code == 404


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("get", "", None),
        ("patch", "", {"enabled": False}),
        ("delete", "", None),
        ("get", "/firings", None),
        ("post", "/run", None),
    ],
)
def test_what_is_not_there_or_not_yours_is_missing(
    alice_client: Any,
    bob_client: Any,
    make_cron: MakeCron,
    method: str,
    path: str,
    body: Any,
) -> None:
    cron = make_cron()

    hidden = bob_client.call(method, f"/runs/crons/{cron.id}{path}", body)
    missing = alice_client.call(method, f"/runs/crons/{uuid4()}{path}", body)
    malformed = alice_client.call(method, f"/runs/crons/nonsense{path}", body)

    assert hidden.status_code == 404
    assert missing.status_code == 404
    assert malformed.status_code == 422
    assert malformed.json() == {"detail": "Invalid cron ID: must be a UUID"}
    cron.refresh_from_db()
    assert cron.enabled
    assert not Run.objects.exists()


# --- Spool's own: firings, run now, preview -----------------------------------------
def test_firings_show_what_became_of_each_slot(
    alice_client: Any, make_cron: MakeCron
) -> None:
    cron = make_cron()
    slot = datetime(2026, 11, 23, 9, tzinfo=UTC)
    run_id, thread_id = uuid7(), uuid7()
    CronFiring.objects.create(
        cron=cron,
        slot=slot,
        fired_at=slot + timedelta(seconds=1.5),
        missed=3,
        run_id=run_id,
        thread_id=thread_id,
        status="success",
    )
    CronFiring.objects.create(cron=cron, status="error", error="no")

    response = alice_client.call("get", f"/runs/crons/{cron.id}/firings")

    assert response.status_code == 200
    by_hand, scheduled = response.json()
    assert (by_hand["slot"], by_hand["lateness"], by_hand["error"]) == (
        None,
        None,
        "no",
    )
    assert scheduled == {
        "slot": "2026-11-23T09:00:00+00:00",
        "fired_at": "2026-11-23T09:00:01.500000+00:00",
        "lateness": 1.5,
        "missed": 3,
        "run_id": str(run_id),
        "thread_id": str(thread_id),
        "status": "success",
        "error": None,
    }


def test_firings_page(alice_client: Any, make_cron: MakeCron) -> None:
    path = f"/runs/crons/{make_cron().id}/firings"

    assert alice_client.call("get", f"{path}?limit=1&offset=0").json() == []
    assert alice_client.call("get", f"{path}?limit=0").status_code == 422


def test_run_now_makes_the_run_of_the_cron(
    alice_client: Any, make_cron: MakeCron, thread: Thread
) -> None:
    cron = make_cron(thread, input={"a": 1}, enabled=False, metadata={"kind": "x"})

    response = alice_client.call("post", f"/runs/crons/{cron.id}/run")

    assert response.status_code == 200
    run = Run.objects.get()
    assert response.json()["run_id"] == str(run.id)
    assert run.thread_id == thread.id
    assert run.kwargs["input"] == {"a": 1}
    assert run.kwargs["config"]["configurable"]["cron_id"] == str(cron.id)
    assert run.metadata["kind"] == "x"
    assert run.user
    assert run.user["identity"] == "alice"
    firing = cron.firings.get()
    assert (firing.slot, firing.run_id, firing.status) == (None, run.id, "pending")


@pytest.mark.parametrize(
    ("scope", "statuses"),
    [("threads:create_run", [200] * 8), ("threads:read", [200] + [403] * 7)],
)
def test_who_may_make_no_runs_makes_none_by_a_cron(
    make_cron: MakeCron, scope: str, statuses: list[int]
) -> None:
    path = f"/runs/crons/{make_cron().id}"
    scopes = ["crons:*", "assistants:read", scope]
    client = Client(Person("alice", create_key(owner="alice", scopes=scopes)[1]))

    changes: list[Any] = [
        {"enabled": False},
        {"enabled": True},
        {"schedule": "* * * * * *"},
        {"timezone": "Asia/Kolkata"},
        {"end_time": None},
        {"enabled": False, "schedule": "* * * * * *"},
        {"input": "other"},
    ]
    answers = [client.call("patch", path, change) for change in changes]
    answers.append(client.call("post", f"{path}/run"))

    assert [answer.status_code for answer in answers] == statuses


def test_run_now_on_a_busy_thread_is_a_conflict(
    alice_client: Any, make_cron: MakeCron, thread: Thread
) -> None:
    path = f"/runs/crons/{make_cron(thread, multitask_strategy='reject').id}/run"

    assert alice_client.call("post", path).status_code == 200
    assert alice_client.call("post", path).status_code == 409
    assert CronFiring.objects.count() == 1


def test_preview_says_what_a_schedule_means(alice_client: Any) -> None:
    response = alice_client.call(
        "post",
        "/runs/crons/preview",
        {"schedule": "30 2 * * *", "timezone": "Europe/Berlin"},
    )

    assert response.status_code == 200
    preview = response.json()
    assert preview["description"] == "At 02:30 every day"
    dates = [datetime.fromisoformat(date) for date in preview["next_run_dates"]]
    assert len(dates) == 10
    assert dates == sorted(set(dates))
    assert preview["timezone"] == "Europe/Berlin"


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"schedule": "nonsense"},
        {"schedule": "@daily", "timezone": "nonsense"},
        [],
    ],
)
def test_preview_refuses(alice_client: Any, body: Any) -> None:
    assert alice_client.call("post", "/runs/crons/preview", body).status_code == 422


def test_the_schema_of_the_api_has_the_crons() -> None:
    schema = DjangoClient().get("/openapi.json").content.decode()

    for ours in ("{cron_id}/firings", "{cron_id}/run", "preview"):
        assert f'"/runs/crons/{ours}"' in schema


@pytest.mark.parametrize(
    ("timezone", "end"),
    [("Europe/Berlin", "2090-06-30T22:00:00"), (None, "2090-07-01T00:00:00")],
)
def test_an_end_without_an_offset_is_in_the_crons_zone(
    make_cron: MakeCron, timezone: str | None, end: str
) -> None:
    cron = make_cron(end_time="2090-07-01T00:00:00", timezone=timezone)

    assert cron.end_time is not None
    assert cron.end_time.astimezone(UTC).replace(tzinfo=None).isoformat() == end
