"""The order of lists: the most recently used first."""

from __future__ import annotations

import pytest

from spool.access.tests.people import Client

pytestmark = pytest.mark.django_db


def test_threads_come_in_the_order_of_their_use(alice_client: Client) -> None:
    a, b, _ = [alice_client.call("post", "/threads", {}).json() for _ in range(3)]
    alice_client.call("patch", f"/threads/{b['thread_id']}", {"metadata": {"x": 1}})
    run = {"assistant_id": "echo"}
    alice_client.call("post", f"/threads/{a['thread_id']}/runs", run)

    found = alice_client.call("post", "/threads/search", {}).json()

    assert [one["thread_id"] for one in found[:2]] == [a["thread_id"], b["thread_id"]]
