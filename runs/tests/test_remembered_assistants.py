"""Web processes cache assistants, but runs use their current version."""

from __future__ import annotations

from typing import Any

import pytest

from spool.access.tests.people import Client
from spool.runs.models import Run
from spool.threads.models import Thread

pytestmark = pytest.mark.django_db


@pytest.fixture
def assistant_id(alice_client: Client) -> str:
    """An assistant of alice's that this process has cached."""
    body = {"graph_id": "echo", "context": {"tone": "old"}}
    made = alice_client.call("post", "/assistants", body).json()
    start(alice_client, made["assistant_id"])
    return str(made["assistant_id"])


def start(client: Client, assistant_id: str) -> Any:
    thread_id = client.call("post", "/threads", {}).json()["thread_id"]
    body = {"assistant_id": assistant_id, "input": {}}
    return client.call("post", f"/threads/{thread_id}/runs", body)


def test_a_change_counts_from_the_next_run_on(
    alice_client: Client, assistant_id: str
) -> None:
    changes = {"context": {"tone": "new"}}
    alice_client.call("patch", f"/assistants/{assistant_id}", changes)

    response = start(alice_client, assistant_id)

    assert response.status_code == 200
    assert response.json()["kwargs"]["context"] == {"tone": "new"}
    stored = Run.objects.get(pk=response.json()["run_id"])
    assert stored.kwargs == response.json()["kwargs"]
    assert stored.metadata == response.json()["metadata"]


def test_a_stateless_run_has_one_thread_all_the_same(
    alice_client: Client, assistant_id: str
) -> None:
    """The thread is created first: the failed attempt must not leave one."""
    alice_client.call("patch", f"/assistants/{assistant_id}", {"context": {"a": 1}})
    threads = Thread.objects.count()

    response = alice_client.call("post", "/runs", {"assistant_id": assistant_id})

    assert response.status_code == 200
    assert Thread.objects.count() == threads + 1


def test_a_deleted_one_is_gone_at_once(alice_client: Client, assistant_id: str) -> None:
    alice_client.call("delete", f"/assistants/{assistant_id}")

    response = start(alice_client, assistant_id)

    assert response.status_code == 404
    assert Run.objects.count() == 1


def test_others_do_not_get_it(bob_client: Client, assistant_id: str) -> None:
    response = start(bob_client, assistant_id)

    assert response.status_code == 404
    assert Run.objects.count() == 1


def test_no_run_is_made_on_a_thread_of_another_owner(
    alice_client: Client, bob_client: Client, assistant_id: str
) -> None:
    thread_id = bob_client.call("post", "/threads", {}).json()["thread_id"]
    body = {"assistant_id": assistant_id, "input": {}}

    response = alice_client.call("post", f"/threads/{thread_id}/runs", body)

    assert response.status_code == 404
    assert Thread.objects.get(pk=thread_id).status == Thread.Status.IDLE
