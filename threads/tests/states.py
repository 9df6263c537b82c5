"""Reads and updates states of threads as clients do."""

from __future__ import annotations

from typing import Any

from spool.access.tests.people import Client
from spool.threads.models import Thread


def state_of(client: Client, thread: Thread, query: str = "") -> dict[str, Any]:
    response = client.call("get", f"/threads/{thread.id}/state{query}")
    assert response.status_code == 200, response.content
    state: dict[str, Any] = response.json()
    return state


def history_of(client: Client, thread: Thread, **body: Any) -> list[dict[str, Any]]:
    response = client.call("post", f"/threads/{thread.id}/history", body)
    assert response.status_code == 200, response.content
    states: list[dict[str, Any]] = response.json()
    return states


def update(client: Client, thread: Thread, **body: Any) -> Any:
    return client.call("post", f"/threads/{thread.id}/state", body)
