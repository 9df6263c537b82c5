"""States that their graph refuses to read."""

from __future__ import annotations

from typing import Any

import pytest

from spool.access.tests.people import Client
from spool.threads.models import Thread
from spool.threads.tests.running import checkpoint_rows, make_thread, run_graph

# Checkpoints are read through separate connections, so rows must be committed.
pytestmark = pytest.mark.django_db(transaction=True)


def make_broken_thread(graph_id: str, value: dict[str, Any]) -> Thread:
    thread = make_thread(graph_id)
    with pytest.raises(Exception, match=r"one value per step|validation error"):
        run_graph(thread, value)
    return thread


def call(client: Client, thread: Thread, method: str, path: str, **body: Any) -> Any:
    response = client.call(method, f"/threads/{thread.id}/{path}", body or None)
    assert response.status_code == 200, response.content
    return response.json()


def test_what_a_step_wrote_is_refused_by_the_state(alice_client: Client) -> None:
    thread = make_broken_thread("clash", {"x": "before"})

    state = call(alice_client, thread, "get", "state")
    deep = call(alice_client, thread, "get", "state?subgraphs=true")
    history = call(alice_client, thread, "post", "history", limit=10)

    assert state == deep == history[0]
    assert state["values"] == {"x": "before"}
    assert sorted(state["next"]) == ["left", "right"]
    assert [one["metadata"]["step"] for one in history] == [0, -1]


def test_what_is_in_the_state_is_refused_by_its_schema(alice_client: Client) -> None:
    thread = make_broken_thread("strict", {"n": 1})

    state = call(alice_client, thread, "get", "state")
    history = call(alice_client, thread, "post", "history", limit=10)
    older = call(alice_client, thread, "get", f"state/{history[1]['checkpoint_id']}")

    assert state == history[0]
    assert state["values"] == {"n": "many"}
    assert state["next"] == state["tasks"] == []
    assert [one["values"] for one in history] == [{"n": "many"}, {"n": 1}, {}]
    assert older == history[1]
    assert older["next"] == ["say"]


def test_an_update_that_is_refused_leaves_nothing(alice_client: Client) -> None:
    thread = make_thread("human", {"topic": "t"})
    path = f"/threads/{thread.id}/state"
    state = call(alice_client, thread, "get", "state")
    rows = checkpoint_rows(thread)

    refused = alice_client.call("post", path, {"values": {"log": 5}, "as_node": "ask"})

    assert refused.status_code == 400
    assert checkpoint_rows(thread) == rows
    assert call(alice_client, thread, "get", "state") == state


def test_supersteps_are_replayed_whole_or_not_at_all(alice_client: Client) -> None:
    steps = [{"values": {"log": value}, "as_node": "s1"} for value in (["a"], 5)]
    supersteps = [{"updates": [step]} for step in steps]

    response = alice_client.call(
        "post", "/threads", {"metadata": {"graph_id": "slow"}, "supersteps": supersteps}
    )

    assert response.status_code == 400
    thread = Thread.objects.get()
    assert set(checkpoint_rows(thread).values()) == {0}
    assert call(alice_client, thread, "get", "state")["values"] == {}
