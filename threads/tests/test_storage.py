"""A thread's checkpoints are copied, pruned, measured and deleted."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

import pytest
from django.db import connection

from spool.access.tests.people import Client
from spool.threads.models import Thread
from spool.threads.services import copy_thread
from spool.threads.state import get_state
from spool.threads.tests.running import checkpoint_rows, make_thread, run_graph

# Checkpoints are read through separate connections, so rows must be committed.
pytestmark = pytest.mark.django_db(transaction=True)

NO_ROWS = {"checkpoints": 0, "checkpoint_blobs": 0, "checkpoint_writes": 0}


def history(client: Client, thread_id: Any) -> list[dict[str, Any]]:
    body = {"limit": 1000}
    states: list[dict[str, Any]] = client.call(
        "post", f"/threads/{thread_id}/history", body
    ).json()
    return states


# --- Copy -----------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("graph_id", "value"),
    [
        ("human", {"topic": "t"}),
        ("nested", {"topic": "stop"}),
        ("delta", {"log": ["in"]}),
    ],
)
def test_copy_takes_all_state_along(
    alice_client: Client, graph_id: str, value: dict[str, Any]
) -> None:
    source = make_thread(graph_id, value)

    response = alice_client.call("post", f"/threads/{source.id}/copy")

    assert response.status_code == 200
    row = response.json()
    copy = Thread.objects.get(pk=row["thread_id"])
    source.refresh_from_db()
    assert copy.id != source.id
    assert copy.id.version == 4
    assert "values" not in row
    assert row["metadata"] == source.metadata
    assert (copy.status, copy.values) == (source.status, source.values)
    assert checkpoint_rows(copy) == checkpoint_rows(source)
    states = history(alice_client, copy.id)
    assert [state["values"] for state in states] == [
        state["values"] for state in history(alice_client, source.id)
    ]
    assert {state["checkpoint"]["thread_id"] for state in states} == {str(copy.id)}


def test_a_copy_lives_apart(alice_client: Client) -> None:
    source = make_thread("delta", {"log": ["in"]})
    before = history(alice_client, source.id)

    copied = alice_client.call("post", f"/threads/{source.id}/copy").json()
    copy = Thread.objects.get(pk=copied["thread_id"])
    run_graph(copy, {"log": ["more"]})
    alice_client.call("delete", f"/threads/{copy.id}")

    assert history(alice_client, source.id) == before
    assert checkpoint_rows(copy) == NO_ROWS


def test_copy_of_a_thread_in_flight_shows_what_it_holds(alice_client: Client) -> None:
    source = make_thread("human", {"topic": "t"})
    Thread.objects.update(status="busy", resting_status="idle", values=None)

    row = alice_client.call("post", f"/threads/{source.id}/copy").json()

    copy = Thread.objects.get(pk=row["thread_id"])
    assert copy.values == {"topic": "t", "log": []}
    assert copy.status == copy.resting_status == "interrupted"


def test_copy_of_a_thread_in_flight_whose_graph_is_gone(alice_client: Client) -> None:
    source = make_thread("human", {"topic": "t"})
    gone = {"graph_id": "gone", "owner": "alice"}
    Thread.objects.update(status="busy", metadata=gone)

    response = alice_client.call("post", f"/threads/{source.id}/copy")

    assert response.status_code == 200
    copy = Thread.objects.get(pk=response.json()["thread_id"])
    assert copy.values == {"topic": "t", "log": []}
    assert copy.status == "interrupted"


def test_copy_shows_the_state_that_it_takes_along() -> None:
    read_before = make_thread("slow", {"delay": 0})
    run_graph(read_before, {"delay": 0, "log": ["since"]})

    copy = copy_thread(read_before, {"graph_id": "slow"})

    assert copy is not None
    assert copy.values["log"][5] == "since"
    assert copy.values == get_state(copy).values


def test_copy_of_nothing(alice_client: Client, bob_client: Client) -> None:
    source = make_thread("human", {"topic": "t"})

    missing = alice_client.call("post", f"/threads/{uuid4()}/copy")
    malformed = alice_client.call("post", "/threads/nonsense/copy")
    theirs = bob_client.call("post", f"/threads/{source.id}/copy")

    assert missing.status_code == theirs.status_code == 409
    assert missing.json() == theirs.json() == {"detail": "Conflict"}
    assert malformed.status_code == 422
    assert Thread.objects.count() == 1


# --- Long histories -------------------------------------------------------------------
# A long history: copies of the first checkpoint, each a little earlier.
AGE = """
INSERT INTO checkpoints (thread_id, checkpoint_ns, checkpoint_id, parent_checkpoint_id,
    type, checkpoint, metadata)
SELECT thread_id, checkpoint_ns, '0-' || lpad(n::text, 5, '0'),
    '0-' || lpad((n - 1)::text, 5, '0'), type,
    checkpoint || jsonb_build_object('id', '0-' || lpad(n::text, 5, '0')),
    metadata || jsonb_build_object('step', n)
FROM generate_series(1, 1500) n, checkpoints
WHERE thread_id = %(thread_id)s AND parent_checkpoint_id IS NULL
"""


def test_a_thousand_checkpoints_and_more(alice_client: Client) -> None:
    source = make_thread("slow", {"delay": 0})
    with connection.cursor() as cursor:
        cursor.execute(AGE, {"thread_id": str(source.id)})
    path = f"/threads/{source.id}"
    state = alice_client.call("get", f"{path}/state").json()
    before = history(alice_client, source.id)

    copy = alice_client.call("post", f"{path}/copy").json()["thread_id"]
    stored = alice_client.call("get", f"{path}/storage").json()
    alice_client.call(
        "post", "/threads/prune", {"thread_ids": [copy], "strategy": "keep_latest"}
    )
    pruned = history(alice_client, copy)

    assert stored["checkpoints"]["count"] == 1507
    assert len(before) == 1000
    assert history(alice_client, source.id) == before
    assert [one["values"] for one in pruned] == [state["values"]]
    assert pruned[0]["checkpoint_id"] == state["checkpoint_id"]
    alice_client.call("delete", path)
    assert checkpoint_rows(source) == NO_ROWS


# --- Prune ----------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("graph_id", "value"),
    [("slow", {"delay": 0}), ("human", {"topic": "t"}), ("nested", {"topic": "stop"})],
)
def test_prune_keeps_the_latest_state(
    alice_client: Client, graph_id: str, value: dict[str, Any]
) -> None:
    thread = make_thread(graph_id, value)
    path = f"/threads/{thread.id}/state?subgraphs=true"
    before = alice_client.call("get", path).json()
    asked = {"thread_ids": [str(thread.id), str(uuid4())], "strategy": "keep_latest"}

    response = alice_client.call("post", "/threads/prune", asked)

    assert response.json() == {"pruned_count": 1}
    after = alice_client.call("get", path).json()
    assert after["values"] == before["values"]
    assert after["checkpoint"] == before["checkpoint"]
    assert after["next"] == before["next"]
    assert after["interrupts"] == before["interrupts"]
    assert len(history(alice_client, thread.id)) == 1


def test_a_pruned_thread_goes_on(alice_client: Client) -> None:
    thread = make_thread("slow", {"delay": 0})
    asked = {"thread_ids": [str(thread.id)], "strategy": "keep_latest"}
    alice_client.call("post", "/threads/prune", asked)

    run_graph(thread, {"delay": 0, "log": ["again"]})

    log = history(alice_client, thread.id)[0]["values"]["log"]
    assert log[5] == "again"
    assert len(log) == 11


def test_prune_refuses_differences(alice_client: Client) -> None:
    other = make_thread("slow", {"delay": 0})
    thread = make_thread("delta", {"log": ["in"]})
    before = checkpoint_rows(thread), checkpoint_rows(other)
    ids = [str(other.id), str(thread.id)]
    asked = {"thread_ids": ids, "strategy": "keep_latest"}

    response = alice_client.call("post", "/threads/prune", asked)

    assert response.status_code == 422
    assert "DeltaChannel" in response.json()["detail"]
    assert str(thread.id) in response.json()["detail"]
    assert str(other.id) not in response.json()["detail"]
    assert (checkpoint_rows(thread), checkpoint_rows(other)) == before


def test_prune_leaves_what_a_run_in_flight_may_go_back_to(alice_client: Client) -> None:
    resting, busy = (make_thread("slow", {"delay": 0}) for _ in range(2))
    Thread.objects.filter(pk=busy.pk).update(status="busy")
    before = checkpoint_rows(busy)
    ids = [str(thread.id) for thread in (resting, busy)]
    asked = {"thread_ids": ids, "strategy": "keep_latest"}

    response = alice_client.call("post", "/threads/prune", asked)

    assert response.json() == {"pruned_count": 1}
    assert checkpoint_rows(busy) == before


def test_prune_leaves_other_owners_threads(
    alice_client: Client, bob_client: Client
) -> None:
    thread = make_thread("slow", {"delay": 0})
    before = checkpoint_rows(thread)
    asked = {"thread_ids": [str(thread.id)], "strategy": "keep_latest"}

    response = bob_client.call("post", "/threads/prune", asked)

    assert response.json() == {"pruned_count": 0}
    assert checkpoint_rows(thread) == before


# --- Storage --------------------------------------------------------------------------
def test_storage(alice_client: Client) -> None:
    thread = make_thread("human", {"topic": "t"})
    empty = make_thread("human")
    rows = checkpoint_rows(thread)

    found = alice_client.call("get", f"/threads/{thread.id}/storage").json()
    none = alice_client.call("get", f"/threads/{empty.id}/storage").json()

    assert found["thread_id"] == str(thread.id)
    assert found["checkpoints"]["count"] == rows["checkpoints"]
    assert found["channel_values"]["count"] == rows["checkpoint_blobs"]
    assert found["pending_writes"]["count"] == rows["checkpoint_writes"]
    parts = ("checkpoints", "channel_values", "pending_writes")
    assert found["total_bytes"] == sum(found[part]["bytes"] for part in parts) > 0
    by_channel = found["channel_values"]["by_channel"]
    assert (
        sum(one["versions"] for one in by_channel.values()) == rows["checkpoint_blobs"]
    )
    assert none["total_bytes"] == 0
    assert none["channel_values"] == {"count": 0, "bytes": 0, "by_channel": {}}


# --- Delete ---------------------------------------------------------------------------
def test_delete_takes_all_state_along(alice_client: Client) -> None:
    thread, kept = (
        make_thread("nested", {"topic": "t"}),
        make_thread("slow", {"delay": 0}),
    )
    before = checkpoint_rows(kept)

    alice_client.call("delete", f"/threads/{thread.id}")

    assert checkpoint_rows(thread) == NO_ROWS
    assert checkpoint_rows(kept) == before


def test_prune_deletes_all_state(alice_client: Client) -> None:
    threads = [make_thread("human", {"topic": "t"}) for _ in range(3)]
    ids = [str(thread.id) for thread in threads]

    response = alice_client.call("post", "/threads/prune", {"thread_ids": ids})

    assert response.json() == {"pruned_count": 3}
    assert checkpoint_rows(*threads) == NO_ROWS


def test_a_deleted_thread_can_be_made_again(alice_client: Client) -> None:
    thread = make_thread("human", {"topic": "t"})
    path = f"/threads/{thread.id}"
    alice_client.call("delete", path)

    body = {"thread_id": str(thread.id), "metadata": {"graph_id": "human"}}
    made = alice_client.call("post", "/threads", body).json()

    assert UUID(made["thread_id"]) == thread.id
    assert alice_client.call("get", f"{path}/state").json()["values"] == {}
