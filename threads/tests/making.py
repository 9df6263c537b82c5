"""Creates threads as clients do."""

from __future__ import annotations

from typing import Any

from spool.access.tests.people import Client


def make(client: Client, **body: Any) -> dict[str, Any]:
    response = client.call("post", "/threads", body)
    assert response.status_code == 200, response.content
    made: dict[str, Any] = response.json()
    return made
