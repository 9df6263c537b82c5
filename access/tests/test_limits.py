from __future__ import annotations

from typing import Any

import pytest
from django.conf import LazySettings
from django.contrib.auth.models import User
from django.test import Client as Browser

from spool.access import limits
from spool.access.keys import create_key
from spool.access.tests.people import Client, Person
from spool.assistants.models import Assistant
from spool.assistants.services import register_system_assistants
from spool.database.tests.together import at_once
from spool.runs.models import Run

pytestmark = pytest.mark.django_db

PATH = "/threads/nonsense"


@pytest.fixture
def _three_a_minute(settings: LazySettings, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.RATE_LIMIT = 3
    # Not at the turn of a minute.
    monkeypatch.setattr(limits, "_now", lambda: 1_000_000_000)
    limits._redis().flushdb()


@pytest.mark.usefixtures("_three_a_minute")
def test_too_many_requests_are_told_when_to_come_back(alice_client: Client) -> None:
    answers = [alice_client.get(PATH) for _ in range(4)]

    assert [answer.status_code for answer in answers] == [422, 422, 422, 429]
    left = [answer.headers["RateLimit-Remaining"] for answer in answers]
    assert left == ["2", "1", "0", "0"]
    last = answers[-1]
    assert last.headers["RateLimit-Limit"] == "3"
    assert last.headers["RateLimit-Policy"] == "3;w=60"
    assert 0 < int(last.headers["RateLimit-Reset"]) <= 60
    assert last.headers["Retry-After"] == last.headers["RateLimit-Reset"]
    assert set(last.json()) == {"detail"}


@pytest.mark.usefixtures("_three_a_minute")
def test_each_key_has_its_own_count(alice_client: Client, bob_client: Client) -> None:
    second = Client(Person("alice", create_key(owner="alice")[1]))
    for _ in range(4):
        alice_client.get(PATH)

    assert alice_client.get(PATH).status_code == 429
    assert second.get(PATH).status_code == 422
    assert bob_client.get(PATH).status_code == 422


@pytest.mark.usefixtures("_three_a_minute")
def test_without_authentication_addresses_are_counted(client: Browser) -> None:
    for _ in range(3):
        client.get(PATH)

    assert client.get(PATH).status_code == 429
    assert client.get(PATH, REMOTE_ADDR="192.0.2.7").status_code == 422


@pytest.mark.usefixtures("_three_a_minute")
def test_what_is_about_the_server_is_not_counted(client: Browser) -> None:
    answers = [client.get("/ok") for _ in range(5)]

    assert {answer.status_code for answer in answers} == {200}
    assert "RateLimit-Limit" not in answers[0].headers


@pytest.mark.usefixtures("_three_a_minute")
def test_passwords_are_not_tried_until_one_fits(client: Browser) -> None:
    User.objects.create_superuser("admin", password="right")
    wrong, right = ({"username": "admin", "password": p} for p in ("wrong", "right"))

    answers = [client.post("/admin/login/", wrong) for _ in range(20)]
    last = client.post("/admin/login/", right)
    elsewhere = client.post("/admin/login/", right, REMOTE_ADDR="192.0.2.7")

    assert {answer.status_code for answer in answers} == {200}
    assert last.status_code == 429
    assert 0 < int(last.headers["Retry-After"]) <= 60
    assert elsewhere.status_code == 302
    assert client.get("/admin/login/").status_code != 429


def test_without_a_limit_requests_are_not_counted(alice_client: Client) -> None:
    response = alice_client.get(PATH)

    assert "RateLimit-Limit" not in response.headers


@pytest.mark.usefixtures("_three_a_minute")
def test_without_redis_requests_are_answered(
    alice_client: Client, settings: LazySettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.REDIS_URL = "redis://127.0.0.1:1/0"
    monkeypatch.setattr(limits, "_redis", limits._redis.__wrapped__)

    assert [alice_client.get(PATH).status_code for _ in range(5)] == [422] * 5


# --- Runs ---------------------------------------------------------------------------
RUN = {"assistant_id": "memory", "input": {"messages": []}}


@pytest.fixture
def _two_runs(settings: LazySettings, system_assistant: Assistant) -> None:
    settings.MAX_RUNS_PER_OWNER = 2


@pytest.mark.usefixtures("_two_runs")
def test_an_owner_has_only_so_many_runs_at_once(
    alice_client: Client, bob_client: Client
) -> None:
    thread = alice_client.call("post", "/threads", {}).json()["thread_id"]
    path = f"/threads/{thread}/runs"

    answers = [
        alice_client.call("post", to, RUN) for to in ("/runs", path, path, "/runs")
    ]

    assert [answer.status_code for answer in answers] == [200, 200, 429, 429]
    assert "At most 2 runs" in answers[-1].json()["detail"]
    assert bob_client.call("post", "/runs", RUN).status_code == 200
    Run.objects.filter(pk=answers[0].json()["run_id"]).update(status="success")
    assert alice_client.call("post", "/runs", RUN).status_code == 200


@pytest.mark.usefixtures("_two_runs")
def test_a_batch_that_is_too_many_makes_none(alice_client: Client) -> None:
    too_many = alice_client.call("post", "/runs/batch", [RUN] * 3)

    assert too_many.status_code == 429
    assert not Run.objects.exists()
    assert alice_client.call("post", "/runs/batch", [RUN] * 2).status_code == 200


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("_two_runs")
def test_many_at_once_are_no_way_around_it(alice: Person) -> None:
    def ask() -> int:
        return int(Client(alice).call("post", "/runs", RUN).status_code)

    statuses = at_once([ask] * 8)

    assert sorted(statuses) == [200] * 2 + [429] * 6


@pytest.mark.parametrize(
    ("path", "body", "id_key"),
    [
        ("/threads", {}, "thread_id"),
        ("/assistants", {"graph_id": "chat"}, "assistant_id"),
        (
            "/runs/crons",
            {"assistant_id": "chat", "schedule": "@daily"},
            "cron_id",
        ),
    ],
)
def test_metadata_does_not_grow_beyond_its_limit(
    alice_client: Client,
    settings: LazySettings,
    path: str,
    body: dict[str, Any],
    id_key: str,
) -> None:
    register_system_assistants()
    settings.METADATA_MAX_BYTES = 400
    call, half = alice_client.call, "x" * 250
    row = call("post", path, {**body, "metadata": {"a": half}}).json()
    path = f"{path}/{row[id_key]}"

    more = call("patch", path, {"metadata": {"b": half}})
    settings.METADATA_MAX_BYTES = 256
    shorter = call("patch", path, {"metadata": {"a": "x" * 240}})

    assert more.status_code == 422
    assert "METADATA_MAX_BYTES" in more.json()["detail"]
    # From before the limit was lowered: what makes it smaller is not refused.
    assert shorter.status_code == 200
    assert shorter.json()["metadata"].get("b") is None
