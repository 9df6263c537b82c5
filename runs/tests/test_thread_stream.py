from __future__ import annotations

from uuid import uuid4

import pytest
from rest_framework.test import APIClient

from spool.access.tests.people import Client, streamed
from spool.threads.models import Thread

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(
    ("query", "complaint"),
    [
        ("stream_mode=values", "Invalid stream mode: values"),
        ("stream_modes=junk", "Invalid stream mode: junk"),
        ("stream_modes=lifecycle&stream_mode=junk", "Invalid stream mode: junk"),
        ('stream_mode=["run_modes","junk"]', "Invalid stream mode: junk"),
        ("stream_mode=[", "stream_mode: must be a string or a list"),
    ],
)
def test_unknown_modes_are_refused(
    client: APIClient, thread: Thread, query: str, complaint: str
) -> None:
    response = client.get(f"/threads/{thread.id}/stream?{query}")

    assert response.status_code == 422
    assert complaint in response.json()["detail"]


@pytest.mark.parametrize("last_event_id", ["-1", "junk", "1-x", "+", f"{2**64}-0"])
def test_a_last_event_id_that_is_none_is_refused(
    client: APIClient, thread: Thread, last_event_id: str
) -> None:
    response = client.get(
        f"/threads/{thread.id}/stream", HTTP_LAST_EVENT_ID=last_event_id
    )

    assert response.status_code == 422
    detail = "Invalid last-event-id: must be a valid Redis stream ID"
    assert response.json()["detail"] == detail


def test_another_owners_thread_looks_like_none(
    bob_client: Client, thread: Thread
) -> None:
    missing = uuid4()

    theirs = bob_client.get(f"/threads/{thread.id}/stream")
    other = bob_client.get(f"/threads/{missing}/stream")

    assert theirs.status_code == other.status_code == 200
    expected = streamed(other).replace(str(missing), str(thread.id))
    assert streamed(theirs) == expected
    assert "404: Thread with ID" in expected
    assert "Location" not in theirs
