from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest

from spool.access.tests.people import Client
from spool.threads.models import Thread
from spool.threads.tests.running import make_thread, run_graph
from spool.threads.tests.states import history_of, state_of, update

pytestmark = pytest.mark.django_db

EMPTY: dict[str, Any] = {
    "values": {},
    "next": [],
    "tasks": [],
    "metadata": None,
    "created_at": None,
    "checkpoint": None,
    "parent_checkpoint": None,
    "interrupts": [],
    "checkpoint_id": None,
    "parent_checkpoint_id": None,
}


@pytest.mark.parametrize("metadata", [{}, {"graph_id": "echo"}, {"graph_id": "gone"}])
def test_a_thread_without_state_is_empty(
    alice_client: Client, metadata: dict[str, Any]
) -> None:
    thread = Thread.objects.create(metadata={**metadata, "owner": "alice"})

    assert state_of(alice_client, thread) == EMPTY
    assert history_of(alice_client, thread) == []


@pytest.mark.parametrize("graph_id", [["echo"], {"a": 1}, 5, True])
def test_a_graph_id_that_is_none(alice_client: Client, graph_id: Any) -> None:
    thread = Thread.objects.create(metadata={"graph_id": graph_id, "owner": "alice"})

    assert state_of(alice_client, thread) == EMPTY
    assert update(alice_client, thread, values={"a": 1}).status_code in (400, 404)


def test_state_tells_of_an_interrupt(alice_client: Client) -> None:
    thread = make_thread("human", {"topic": "t"})

    state = state_of(alice_client, thread)

    assert state["values"] == {"topic": "t", "log": []}
    assert state["next"] == ["ask"]
    [task] = state["tasks"]
    assert task["name"] == "ask"
    assert task["error"] is None
    assert task["interrupts"] == state["interrupts"]
    assert state["interrupts"][0]["value"] == {"question": "approve?", "topic": "t"}
    assert state["checkpoint"] == {
        "thread_id": str(thread.id),
        "checkpoint_ns": "",
        "checkpoint_id": state["checkpoint_id"],
    }
    assert state["metadata"]["source"] == "loop"


def test_state_of_parallel_branches(alice_client: Client) -> None:
    state = state_of(alice_client, make_thread("par", {"log": []}))

    assert sorted(state["next"]) == ["pa", "pb"]
    questions = [interrupt["value"] for interrupt in state["interrupts"]]
    assert sorted(questions) == ["qa", "qb"]


def test_state_tells_of_a_tasks_error(alice_client: Client) -> None:
    thread = make_thread("raises")
    with pytest.raises(ValueError, match="boom happened"):
        run_graph(thread, {})

    [task] = state_of(alice_client, thread)["tasks"]

    assert (task["name"], task["error"]) == ("boom", "ValueError('boom happened')")


def test_state_with_subgraphs(alice_client: Client) -> None:
    thread = make_thread("nested", {"topic": "stop"})

    flat = state_of(alice_client, thread, "?subgraphs=false")["tasks"][0]
    deep = state_of(alice_client, thread, "?subgraphs=true")["tasks"][0]

    namespace = flat["checkpoint"]["checkpoint_ns"]
    assert flat["state"] is None
    assert namespace == f"child:{flat['id']}"
    assert deep["checkpoint"] is None
    assert deep["state"]["next"] == ["sub_b"]
    assert deep["state"]["checkpoint"]["checkpoint_ns"] == namespace


def test_state_and_history_of_a_subgraph(alice_client: Client) -> None:
    thread = make_thread("nested", {"topic": "stop"})
    checkpoint = state_of(alice_client, thread)["tasks"][0]["checkpoint"]

    state = alice_client.call(
        "post", f"/threads/{thread.id}/state/checkpoint", {"checkpoint": checkpoint}
    ).json()
    history = history_of(alice_client, thread, limit=10, checkpoint=checkpoint)

    assert state["next"] == ["sub_b"]
    assert history[0]["checkpoint_id"] == state["checkpoint_id"]
    assert [one["next"] for one in history] == [["sub_b"], ["sub_a"], ["__start__"]]


def test_a_namespace_that_no_subgraph_has_is_empty(alice_client: Client) -> None:
    thread = make_thread("nested", {"topic": "stop"})
    asked = {"checkpoint": {"checkpoint_ns": "unknown:1"}}

    state = alice_client.call("post", f"/threads/{thread.id}/state/checkpoint", asked)
    history = alice_client.call("post", f"/threads/{thread.id}/history", asked)

    assert state.json()["values"] == {}
    assert state.json()["checkpoint"]["checkpoint_ns"] == "unknown:1"
    assert history.json() == []


def test_state_at_a_checkpoint(alice_client: Client) -> None:
    thread = make_thread("slow", {"delay": 0})
    third = history_of(alice_client, thread, limit=10)[3]

    by_path = state_of(alice_client, thread, f"/{third['checkpoint_id']}")
    by_body = alice_client.call(
        "post",
        f"/threads/{thread.id}/state/checkpoint",
        {"checkpoint": third["checkpoint"], "subgraphs": None, "select": None},
    ).json()

    assert by_path == by_body == third


@pytest.mark.parametrize("junk", [str(UUID(int=7)), "junk", "%00", "%25", "a%20b"])
def test_an_unknown_checkpoint_is_echoed_with_no_state(
    alice_client: Client, junk: str
) -> None:
    thread = make_thread("echo", {"messages": []})

    state = state_of(alice_client, thread, f"/{junk}")

    assert state["values"] == {}
    assert state["checkpoint"]["thread_id"] == str(thread.id)
    assert state["checkpoint"]["checkpoint_id"]


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"checkpoint": "a"},
        {"checkpoint": {"checkpoint_id": 5}},
        {"checkpoint": {"checkpoint_ns": ["a"]}},
        {"checkpoint": {"checkpoint_map": "a"}},
        {"checkpoint": {}, "select": 5},
        {"checkpoint": {}, "subgraphs": "perhaps"},
    ],
)
def test_state_at_a_checkpoint_names_what_is_wrong(
    alice_client: Client, wrong: dict[str, Any]
) -> None:
    thread = make_thread("echo")

    response = alice_client.call(
        "post", f"/threads/{thread.id}/state/checkpoint", wrong
    )

    assert response.status_code == 422
    assert "detail" in response.json()


@pytest.mark.parametrize(
    "query",
    ["?subgraphs=perhaps", '?select=["a"', "?select=bogus", "?select=values,next"],
)
def test_state_refuses_a_malformed_query(alice_client: Client, query: str) -> None:
    thread = make_thread("echo")

    response = alice_client.call("get", f"/threads/{thread.id}/state{query}")

    assert response.status_code == 422


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("?select=next", {"next"}),
        ("?select=next&select=values", {"next", "values"}),
        ('?select=["next","tasks"]', {"next", "tasks"}),
        ("?select=checkpoint", {"checkpoint", "checkpoint_id"}),
        ("?select=parent_checkpoint_id", {"parent_checkpoint_id"}),
        ("?select=values.topic", {"values"}),
        ("?select=", set(EMPTY)),
    ],
)
def test_state_selects(alice_client: Client, query: str, expected: set[str]) -> None:
    thread = make_thread("human", {"topic": "t"})

    assert set(state_of(alice_client, thread, query)) == expected


def test_state_selects_some_values(alice_client: Client) -> None:
    thread = make_thread("human", {"topic": "t"})
    select = ["values.topic", "values.unknown"]

    [history] = history_of(alice_client, thread, select=select)

    assert history == {"values": {"topic": "t"}}
    query = "&".join(f"select={name}" for name in select)
    assert state_of(alice_client, thread, f"?{query}") == history
