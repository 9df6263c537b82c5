"""Other ways to another's data: ids in bodies, `if_exists`, filters that guess."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest

from spool.access.tests.people import Client, Person
from spool.assistants.models import Assistant
from spool.assistants.services import register_system_assistants
from spool.runs.models import Run
from spool.runs.worker.inputs import graph_config
from spool.threads.models import Thread
from spool.web.handler import Handler

pytestmark = pytest.mark.django_db

RUN = {"assistant_id": "memory", "input": {"messages": []}}


@pytest.fixture(autouse=True)
def _graphs(db: None) -> None:
    register_system_assistants()


@pytest.fixture
def thread(alice_client: Client) -> str:
    return str(alice_client.call("post", "/threads", {}).json()["thread_id"])


@pytest.mark.parametrize("path", ["runs", "runs/wait", "runs/stream"])
def test_if_not_exists_does_not_find_threads_of_others(
    bob_client: Client, thread: str, path: str
) -> None:
    body = {**RUN, "if_not_exists": "create", "metadata": {"note": "bob's"}}

    response = bob_client.call("post", f"/threads/{thread}/{path}", body)

    assert response.status_code == 404
    assert not Run.objects.exists()
    assert Thread.objects.get().metadata == {"owner": "alice"}


def test_if_not_exists_makes_a_thread_of_the_callers(bob_client: Client) -> None:
    path = "/threads/00000000-0000-4000-8000-000000000001/runs"
    body = {**RUN, "if_not_exists": "create", "metadata": {"owner": "alice"}}

    response = bob_client.call("post", path, body)

    assert response.status_code == 200
    assert Thread.objects.get().owner == "bob"
    assert Run.objects.get().owner == "bob"
    assert response.json()["metadata"]["owner"] == "bob"


@pytest.mark.parametrize("if_exists", ["raise", "do_nothing"])
@pytest.mark.parametrize("kind", ["thread", "assistant"])
def test_a_taken_id_is_a_conflict_and_no_more(
    alice_client: Client, bob_client: Client, kind: str, if_exists: str
) -> None:
    body = {"graph_id": "memory", "metadata": {"note": "secret"}}
    made = alice_client.call("post", f"/{kind}s", body).json()
    again = {"graph_id": "memory", "if_exists": if_exists}

    response = bob_client.call(
        "post", f"/{kind}s", {**again, f"{kind}_id": made[f"{kind}_id"]}
    )

    assert response.status_code == 409
    assert "secret" not in response.text


@pytest.mark.parametrize("where", ["body", "assistant"])
def test_configurable_reaches_no_other_thread(
    bob_client: Client, thread: str, where: str
) -> None:
    stolen = {
        "thread_id": thread,
        "langgraph_auth_user_id": "alice",
        "user_id": "alice",
    }
    body: dict[str, Any] = RUN
    if where == "assistant":
        asked = {"graph_id": "memory", "config": {"configurable": stolen}}
        made = bob_client.call("post", "/assistants", asked).json()
        body = {**RUN, "assistant_id": made["assistant_id"]}
    else:
        body = {**RUN, "config": {"configurable": stolen}}

    assert bob_client.call("post", "/runs", body).status_code == 200

    held = Run.objects.get()
    configurable = graph_config(held)["configurable"]
    assert held.owner == "bob"
    assert configurable["thread_id"] == str(held.thread_id) != thread
    # The client sets this key; the others identify the caller.
    assert configurable["user_id"] == "alice"
    assert configurable["langgraph_auth_user_id"] == "bob"
    assert configurable["langgraph_auth_user"]["identity"] == "bob"


def test_another_owners_assistant_makes_no_run(
    alice_client: Client, bob_client: Client
) -> None:
    made = alice_client.call("post", "/assistants", {"graph_id": "memory"}).json()
    theirs = {**RUN, "assistant_id": made["assistant_id"]}

    one = bob_client.call("post", "/runs", theirs)
    among_others = bob_client.call("post", "/runs/batch", [RUN, theirs])

    assert (one.status_code, among_others.status_code) == (404, 404)
    assert not Run.objects.exists()


@pytest.mark.parametrize("kind", ["threads", "assistants", "runs/crons"])
@pytest.mark.parametrize("owner", ["alice", "%", "ali%", "_____", "*", ""])
def test_a_filter_sees_no_more_than_its_caller(
    alice_client: Client, bob_client: Client, thread: str, kind: str, owner: str
) -> None:
    alice_client.call("post", "/assistants", {"graph_id": "memory"})
    alice_client.call("post", "/runs/crons", {**RUN, "schedule": "0 0 1 1 *"})
    body = {"metadata": {"owner": owner}}

    assert bob_client.call("post", f"/{kind}/search", body).json() == []
    assert bob_client.call("post", f"/{kind}/count", body).json() == 0


def test_a_name_with_wildcards_is_only_a_name(bob_client: Client) -> None:
    bob_client.call("post", "/assistants", {"graph_id": "memory", "name": "plain"})

    found = bob_client.call("post", "/assistants/search", {"name": "pl%n"})

    assert found.json() == []


def test_cancelling_all_leaves_the_others_alone(
    alice_client: Client, bob_client: Client
) -> None:
    alice_client.call("post", "/runs", RUN)
    bob_client.call("post", "/runs", RUN)

    assert bob_client.call("post", "/runs/cancel", {"status": "all"}).status_code == 204

    assert Run.objects.get(owner="alice").status == "pending"


def test_an_unserved_checkpoint_of_another_thread_is_not_read(
    alice_client: Client, bob_client: Client, thread: str
) -> None:
    made = alice_client.call("post", "/threads", {"metadata": {"graph_id": "memory"}})
    theirs = made.json()["thread_id"]
    messages = {"messages": [{"role": "user", "content": "secret"}]}
    saved = alice_client.call("post", f"/threads/{theirs}/state", {"values": messages})
    checkpoint = saved.json()["checkpoint"]
    mine = bob_client.call("post", "/threads", {"metadata": {"graph_id": "memory"}})
    path = f"/threads/{mine.json()['thread_id']}"

    answers = [
        bob_client.call("post", f"{path}/state/checkpoint", {"checkpoint": checkpoint}),
        bob_client.call("post", f"{path}/history", {"checkpoint": checkpoint}),
        bob_client.call("get", f"{path}/state/{checkpoint['checkpoint_id']}"),
        bob_client.call(
            "post", f"{path}/state", {"values": None, "checkpoint": checkpoint}
        ),
        bob_client.call("get", f"{path}/state"),
    ]

    assert "secret" in alice_client.get(f"/threads/{theirs}/state").text
    assert not any("secret" in answer.text for answer in answers)


def test_no_cache_keeps_an_answer_for_others(
    alice_client: Client, bob_client: Client, thread: str
) -> None:
    answers = [
        client.get(f"/threads/{thread}") for client in (alice_client, bob_client)
    ]
    page = alice_client.get("/static/admin/css/base.css")
    page.close()

    assert [answer.headers["Cache-Control"] for answer in answers] == ["no-store"] * 2
    assert "no-store" not in page.headers["Cache-Control"]


def test_errors_tell_nothing_of_a_row(
    alice_client: Client, bob_client: Client, thread: str
) -> None:
    Thread.objects.update(metadata={"owner": "alice", "note": "secret"}, status="busy")

    refused = alice_client.call("post", f"/threads/{thread}/state", {"values": {}})
    hidden = bob_client.call("post", f"/threads/{thread}/state", {"values": {}})

    assert (refused.status_code, hidden.status_code) == (409, 404)
    assert "secret" not in refused.text + hidden.text


# --- Concurrent requests --------------------------------------------------------------
USERS, REQUESTS = 50, 10


@pytest.mark.django_db(transaction=True)
async def test_interleaved_users_get_their_own_answers(
    api_keys: None, interleaved: list[Person]
) -> None:
    """500 requests of 50 users at once, on the threads that they share."""
    transport = httpx.ASGITransport(app=Handler())
    async with httpx.AsyncClient(
        transport=transport, base_url="http://spool"
    ) as client:
        answers = await asyncio.gather(
            *(_talk(client, person) for person in interleaved)
        )

    seen = {person.identity: owners for person, owners in answers}
    assert len(seen) == USERS
    assert all(owners == {identity} for identity, owners in seen.items())


@pytest.fixture
def interleaved(transactional_db: None) -> list[Person]:
    return [Person.with_key(f"user-{number}") for number in range(USERS)]


async def _talk(
    client: httpx.AsyncClient, person: Person
) -> tuple[Person, set[str | None]]:
    """Create threads and list them. Return all owners that the responses name."""
    headers = {"x-api-key": person.key}
    owners = set()
    for number in range(REQUESTS // 2):
        body = {"metadata": {"owner": "user-0", "number": number}}
        made = await client.post("/threads", json=body, headers=headers)
        owners.add(made.json()["metadata"]["owner"])
        found = await client.post("/threads/search", json={}, headers=headers)
        owners |= {row["metadata"]["owner"] for row in found.json()}
        assert len(found.json()) == number + 1
    return person, owners


def test_system_assistants_stay_the_systems(bob_client: Client) -> None:
    bob_client.call("post", "/runs", RUN)

    assert not Assistant.objects.exclude(owner="").exists()
