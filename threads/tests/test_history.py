from __future__ import annotations

from typing import Any

import pytest

from spool.access.tests.people import Client
from spool.threads.models import Thread
from spool.threads.tests.running import make_thread, run_graph
from spool.threads.tests.states import history_of, state_of

pytestmark = pytest.mark.django_db


def test_history_is_newest_first_and_has_limits(alice_client: Client) -> None:
    thread = make_thread("slow", {"delay": 0})
    path = f"/threads/{thread.id}/history"

    every = history_of(alice_client, thread, limit=1000)
    one = history_of(alice_client, thread, limit=None, before=None, metadata=None)
    by_get = alice_client.call("get", path).json()
    two = alice_client.call("get", f"{path}?limit=2&before=").json()

    assert [state["metadata"]["step"] for state in every] == [5, 4, 3, 2, 1, 0, -1]
    assert [state["next"] for state in every][-2:] == [["s1"], ["__start__"]]
    assert one == every[:1]
    assert by_get == every
    assert two == every[:2]
    assert every[0]["parent_checkpoint_id"] == every[1]["checkpoint_id"]


def test_history_before_a_checkpoint_in_every_form(alice_client: Client) -> None:
    thread = make_thread("slow", {"delay": 0})
    every = history_of(alice_client, thread, limit=1000)
    checkpoint = every[2]["checkpoint"]

    found = [
        history_of(alice_client, thread, limit=2, before=before)
        for before in (
            checkpoint["checkpoint_id"],
            checkpoint,
            {"configurable": checkpoint},
        )
    ]
    by_get = alice_client.call(
        "get",
        f"/threads/{thread.id}/history?limit=2&before={checkpoint['checkpoint_id']}",
    ).json()

    assert found == [every[3:5]] * 3
    assert by_get == every[3:5]


def test_history_filters_by_metadata(alice_client: Client) -> None:
    thread = make_thread("slow", {"delay": 0})

    [found] = history_of(alice_client, thread, limit=10, metadata={"step": 2})
    none = history_of(alice_client, thread, limit=10, metadata={"step": "2"})

    assert found["metadata"]["step"] == 2
    assert none == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"limit": 0},
        {"limit": 1001},
        {"limit": "ten"},
        {"before": 5},
        {"before": {}},
        {"before": {"configurable": "a"}},
        {"before": {"checkpoint_id": 7}},
        {"metadata": "a"},
        {"checkpoint": "a"},
        {"checkpoint": {"checkpoint_ns": 5}},
        {"select": 5},
    ],
)
def test_history_names_what_is_wrong(
    alice_client: Client, wrong: dict[str, Any]
) -> None:
    thread = make_thread("echo")

    response = alice_client.call("post", f"/threads/{thread.id}/history", wrong)

    assert response.status_code == 422
    assert next(iter(wrong)) in response.json()["detail"]


@pytest.mark.parametrize("query", ["?limit=0", "?limit=ten"])
def test_history_refuses_a_malformed_query(alice_client: Client, query: str) -> None:
    thread = make_thread("echo")

    response = alice_client.call("get", f"/threads/{thread.id}/history{query}")

    assert response.status_code == 422


def test_history_of_differences(alice_client: Client) -> None:
    thread = make_thread("delta", {"log": ["in"]})
    run_graph(thread, {"log": ["again"]})

    history = history_of(alice_client, thread, limit=100)

    newest = ["in", "a", "b", "again", "a", "b"]
    assert history[0]["values"]["log"] == newest
    assert history[1]["values"]["log"] == newest[:-1]
    assert state_of(alice_client, thread)["values"] == {"log": newest}
    before = f"/{history[2]['checkpoint_id']}"
    assert state_of(alice_client, thread, before)["values"]["log"] == newest[:-2]


def test_history_of_more_than_a_thousand_checkpoints(alice_client: Client) -> None:
    supersteps = [
        {"updates": [{"values": {"log": [str(n)]}, "as_node": "s1"}]}
        for n in range(1010)
    ]
    made = alice_client.call(
        "post",
        "/threads",
        {"metadata": {"graph_id": "slow"}, "supersteps": supersteps},
    ).json()
    thread = Thread.objects.get(pk=made["thread_id"])

    page = history_of(alice_client, thread, limit=1000, select=["checkpoint"])
    before = page[-1]["checkpoint_id"]
    rest = history_of(alice_client, thread, limit=1000, before=before)

    assert len(page) == 1000
    assert len(rest) == 10
    assert rest[-1]["values"]["log"] == ["0"]
    assert len(state_of(alice_client, thread)["values"]["log"]) == 1010
