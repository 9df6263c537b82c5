"""State updates by clients: single ones, and many in one request."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest
from django.db import connection

from spool.access.tests.people import Client
from spool.threads.models import Thread
from spool.threads.services import delete_threads
from spool.threads.tests.running import make_thread
from spool.threads.tests.states import history_of, state_of, update
from spool.threads.updates import update_state

pytestmark = pytest.mark.django_db


# --- Writing --------------------------------------------------------------------------
def test_update_answers_with_the_new_checkpoint(alice_client: Client) -> None:
    thread = make_thread("human", {"topic": "t"})

    response = update(alice_client, thread, values={"answer": "yes"}, as_node="ask")

    assert response.status_code == 200
    named = response.json()
    assert named["checkpoint"] == named["configurable"]
    assert named["checkpoint_id"] == named["checkpoint"]["checkpoint_id"]
    state = state_of(alice_client, thread)
    assert state["checkpoint"] == named["checkpoint"]
    assert state["values"] == {"topic": "t", "answer": "yes", "log": []}
    assert state["next"] == ["fin"]
    assert state["metadata"]["source"] == "update"


def test_an_edited_state_names_its_thread(alice_client: Client) -> None:
    thread = make_thread("human", {"topic": "t"})

    update(alice_client, thread, values={"answer": "yes"}, as_node="ask")
    copied = alice_client.call("post", f"/threads/{thread.id}/copy").json()["thread_id"]

    metadata = state_of(alice_client, thread)["metadata"]
    assert (metadata["thread_id"], metadata["source"]) == (str(thread.id), "update")
    # The copy is not committed, so that only this connection can read it.
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT metadata ->> 'thread_id' FROM checkpoints WHERE thread_id = %s"
            " ORDER BY checkpoint_id DESC LIMIT 1",
            [copied],
        )
        assert cursor.fetchone() == (copied,)


def test_the_state_of_a_subgraph_is_updated(alice_client: Client) -> None:
    thread = make_thread("nested", {"topic": "stop"})
    [task] = state_of(alice_client, thread)["tasks"]
    place = task["checkpoint"]

    response = update(
        alice_client, thread, values={"log": ["edited"]}, checkpoint=place
    )

    assert response.status_code == 200, response.text
    named = response.json()["checkpoint"]
    assert named["checkpoint_ns"] == place["checkpoint_ns"]
    assert named["checkpoint_map"][place["checkpoint_ns"]] == named["checkpoint_id"]


def test_update_moves_the_thread(alice_client: Client) -> None:
    thread = make_thread("human", {"topic": "t"})
    path = f"/threads/{thread.id}"
    before = alice_client.call("get", path).json()

    update(alice_client, thread, values={"answer": "no"}, as_node="ask")
    waiting = alice_client.call("get", path).json()
    update(alice_client, thread, values=None, as_node="__end__")
    done = alice_client.call("get", path).json()

    assert before["status"] == waiting["status"] == "interrupted"
    assert waiting["values"]["answer"] == "no"
    assert waiting["state_updated_at"] > before["state_updated_at"]
    assert done["status"] == "idle"
    assert done["interrupts"] == {}


def test_update_forks(alice_client: Client) -> None:
    thread = make_thread("slow", {"delay": 0})
    third = history_of(alice_client, thread, limit=10)[3]

    by_checkpoint = update(
        alice_client, thread, values={"log": ["x"]}, checkpoint=third["checkpoint"]
    )
    first = state_of(alice_client, thread)
    by_id = update(
        alice_client,
        thread,
        values={"log": ["y"]},
        checkpoint_id=third["checkpoint_id"],
    )
    second = state_of(alice_client, thread)

    assert by_checkpoint.status_code == by_id.status_code == 200
    assert first["values"]["log"] == ["step1", "step2", "x"]
    assert second["values"]["log"] == ["step1", "step2", "y"]
    assert second["parent_checkpoint_id"] == third["checkpoint_id"]


@pytest.mark.parametrize("unknown", [str(UUID(int=7)), "junk"])
def test_update_needs_a_checkpoint_that_exists(
    alice_client: Client, unknown: str
) -> None:
    thread = make_thread("human", {"topic": "t"})
    before = state_of(alice_client, thread)

    response = update(
        alice_client, thread, values={"topic": "x"}, checkpoint_id=unknown
    )

    assert response.status_code == 404
    assert response.json() == {"detail": f"Checkpoint {unknown} not found"}
    assert state_of(alice_client, thread) == before


def test_updates_are_found_by_the_threads_metadata(alice_client: Client) -> None:
    thread = make_thread("human", {"topic": "t"})

    update(alice_client, thread, values={"answer": "a"}, as_node="ask")

    [found] = history_of(alice_client, thread, metadata={"graph_id": "human"})
    assert found["metadata"]["source"] == "update"
    assert found["metadata"]["owner"] == "alice"


def test_update_in_a_subgraph(alice_client: Client) -> None:
    thread = make_thread("nested", {"topic": "stop"})
    checkpoint = state_of(alice_client, thread)["tasks"][0]["checkpoint"]

    response = update(
        alice_client,
        thread,
        values={"log": ["mine"]},
        as_node="sub_b",
        checkpoint=checkpoint,
    )

    assert response.status_code == 200
    inner = alice_client.call(
        "post", f"/threads/{thread.id}/state/checkpoint", {"checkpoint": checkpoint}
    ).json()
    assert inner["values"]["log"][-1] == "mine"
    assert inner["next"] == []


def test_update_accepts_unknown_keys(alice_client: Client) -> None:
    thread = make_thread("human", {"topic": "t"})

    response = update(alice_client, thread, values={"unknown": 1}, as_node="ask")

    assert response.status_code == 200


@pytest.mark.parametrize("as_node", ["__end__", "__copy__", "__input__"])
def test_update_as_a_node_of_langgraphs_own(alice_client: Client, as_node: str) -> None:
    thread = make_thread("human", {"topic": "t"})
    values = {"__input__": {"topic": "new"}}.get(as_node)

    response = update(alice_client, thread, values=values, as_node=as_node)

    assert response.status_code == 200


@pytest.mark.parametrize(
    ("wrong", "detail"),
    [
        ({"values": {"answer": "a"}, "as_node": "zzz"}, "Node zzz does not exist"),
        ({"values": "text"}, "values: must be an object, a list or null"),
        ({"values": 5}, "values: must be an object, a list or null"),
        ({"values": {}, "as_node": 5, "checkpoint": 5}, "checkpoint: must be"),
        ({"values": {"log": 5}, "as_node": "ask"}, ""),
        ({"values": [1, 2], "as_node": "ask"}, ""),
        ({"values": {}, "checkpoint": {"checkpoint_id": {}}}, "checkpoint: "),
        (
            {"values": {}, "checkpoint": {"checkpoint_ns": "unknown"}},
            "Subgraph unknown not found",
        ),
    ],
)
def test_update_refuses_what_has_no_meaning(
    alice_client: Client, wrong: dict[str, Any], detail: str
) -> None:
    thread = make_thread("human", {"topic": "t"})

    response = update(alice_client, thread, **wrong)

    assert response.status_code == 400
    assert detail in response.json()["detail"]


@pytest.mark.parametrize("body", [b"[]", b"null", b'"text"', b"{", b""])
def test_update_needs_an_object(alice_client: Client, body: bytes) -> None:
    thread = make_thread("human")

    response = alice_client.post(
        f"/threads/{thread.id}/state", body, content_type="application/json"
    )

    assert response.status_code == 422


def test_update_needs_a_graph(alice_client: Client) -> None:
    thread = Thread.objects.create(metadata={"owner": "alice"})

    response = update(alice_client, thread, values={"a": 1})

    assert response.status_code == 400
    assert "graph" in response.json()["detail"]


def test_update_refuses_a_thread_in_flight(alice_client: Client) -> None:
    thread = make_thread("human", {"topic": "t"})
    Thread.objects.filter(pk=thread.pk).update(status="busy")

    response = update(alice_client, thread, values={"answer": "a"}, as_node="ask")

    assert response.status_code == 409
    assert "answer" not in response.json()["detail"]


def test_a_graph_that_is_not_served_any_more_is_named(alice_client: Client) -> None:
    thread = make_thread("human", {"topic": "t"})
    Thread.objects.update(metadata={"owner": "alice", "graph_id": "gone"})
    path = f"/threads/{thread.id}"

    state = alice_client.call("get", f"{path}/state")
    history = alice_client.call("post", f"{path}/history", {})
    changed = update(alice_client, thread, values={"answer": "a"})

    assert state.status_code == history.status_code == 422
    assert changed.status_code == 404
    for refused in (state, history, changed):
        assert "'gone'" in refused.json()["detail"]
    assert alice_client.call("get", path).json()["values"]["topic"] == "t"


# --- Supersteps -----------------------------------------------------------------------
def test_supersteps_give_a_new_thread_its_state(alice_client: Client) -> None:
    supersteps = [
        {"updates": [{"values": {"topic": "t"}, "as_node": "__start__"}]},
        {
            "updates": [
                {
                    "values": None,
                    "command": {"update": {"answer": "a"}},
                    "as_node": "ask",
                }
            ]
        },
    ]

    response = alice_client.call(
        "post",
        "/threads",
        {"metadata": {"graph_id": "human"}, "supersteps": supersteps},
    )

    assert response.status_code == 200
    thread = response.json()
    assert thread["values"] == {"topic": "t", "answer": "a", "log": []}
    assert thread["status"] == "interrupted"


def test_supersteps_take_commands_in_each_form(alice_client: Client) -> None:
    commands: list[dict[str, Any]] = [
        {"update": [["topic", "t"], ["log", ["a"]], ["log", ["b"]]]},
        {"update": {"log": ["c"]}, "goto": {"node": "fin", "input": {}}},
        {"goto": ["fin", "ask"]},
    ]
    supersteps = [
        {"updates": [{"command": command, "as_node": "ask"}]} for command in commands
    ]

    response = alice_client.call(
        "post",
        "/threads",
        {"metadata": {"graph_id": "human"}, "supersteps": supersteps},
    )

    assert response.status_code == 200
    assert response.json()["values"] == {"topic": "t", "log": ["a", "b", "c"]}
    thread = Thread.objects.get(pk=response.json()["thread_id"])
    assert sorted(state_of(alice_client, thread)["next"]) == ["ask", "fin"]


@pytest.mark.parametrize(
    "updates",
    [
        [{"values": {"topic": "t"}, "as_node": "zzz"}],
        [{"values": {"log": 5}, "as_node": "ask"}],
        [{"command": {"goto": {"a": 1}}, "as_node": "ask"}],
        [],
    ],
)
def test_supersteps_that_a_graph_refuses_leave_the_thread(
    alice_client: Client, updates: list[Any]
) -> None:
    body = {"metadata": {"graph_id": "human"}, "supersteps": [{"updates": updates}]}

    response = alice_client.call("post", "/threads", body)

    assert response.status_code == 400
    assert response.json()["detail"]
    assert Thread.objects.count() == 1


def test_a_bad_superstep_is_named(alice_client: Client) -> None:
    step = {"updates": [{"values": {"topic": "t"}, "as_node": "zzz"}]}
    body = {"metadata": {"graph_id": "human"}, "supersteps": [step]}

    detail = alice_client.call("post", "/threads", body).json()["detail"]

    assert detail == "Node zzz does not exist"


@pytest.mark.parametrize("metadata", [{}, {"graph_id": "gone"}])
def test_supersteps_without_a_graph_leave_the_thread(
    alice_client: Client, metadata: dict[str, Any]
) -> None:
    update = {"values": {"topic": "t"}, "as_node": "ask"}
    body = {"metadata": metadata, "supersteps": [{"updates": [update]}]}

    response = alice_client.call("post", "/threads", body)

    assert response.status_code == 201
    thread = Thread.objects.get()
    assert response.json()["detail"].startswith(
        f"Thread {thread.id} was created, but there were problems updating the state: "
    )


def test_supersteps_of_a_thread_that_is_deleted_meanwhile(
    alice_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def then_another_request_deletes_it(thread: Thread, steps: Any) -> None:
        update_state(thread, steps)
        delete_threads(Thread.objects.filter(pk=thread.pk))

    monkeypatch.setattr(
        "spool.threads.updates.update_state", then_another_request_deletes_it
    )
    step = {"updates": [{"values": {"topic": "t"}, "as_node": "ask"}]}

    response = alice_client.call(
        "post", "/threads", {"metadata": {"graph_id": "human"}, "supersteps": [step]}
    )

    assert response.status_code == 404


def test_supersteps_leave_an_existing_thread_alone(alice_client: Client) -> None:
    thread = make_thread("human", {"topic": "t"})
    step = {"updates": [{"values": {"topic": "new"}, "as_node": "ask"}]}

    response = alice_client.call(
        "post",
        "/threads",
        {"thread_id": str(thread.id), "if_exists": "do_nothing", "supersteps": [step]},
    )

    assert response.status_code == 200
    assert response.json()["values"]["topic"] == "t"
    assert state_of(alice_client, thread)["values"]["topic"] == "t"


def test_wild_text_in_values(alice_client: Client) -> None:
    thread = make_thread("human", {"topic": "t"})
    body = b'{"values": {"answer": "\\u0000 \\ud800"}, "as_node": "ask"}'

    response = alice_client.post(
        f"/threads/{thread.id}/state", body, content_type="application/json"
    )

    assert response.status_code == 422
    assert "answer" not in state_of(alice_client, thread)["values"]
