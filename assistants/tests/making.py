"""Create assistants as clients do; and the system assistant of the graph `echo`."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from spool.access.tests.people import Client

ECHO = UUID("046b5dc7-2108-582c-9c6c-31d556d138f0")


def make(client: Client, **body: Any) -> dict[str, Any]:
    response = client.call("post", "/assistants", {"graph_id": "echo", **body})
    assert response.status_code == 200, response.content
    made: dict[str, Any] = response.json()
    return made
