"""A run restarts its thread's TTL."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.db.models.functions import Now

from spool.access.tests.people import Client
from spool.threads.models import Thread
from spool.threads.ttl import TTLConfig

pytestmark = pytest.mark.django_db


def run(client: Client, thread: Thread) -> Thread:
    body = {"assistant_id": "echo", "input": {}}
    response = client.call("post", f"/threads/{thread.id}/runs", body)
    assert response.status_code == 200, response.content
    thread.refresh_from_db()
    return thread


def make(**columns: Any) -> Thread:
    return Thread.objects.create(metadata={"owner": "alice"}, **columns)


def test_a_thread_without_a_ttl_lives_for_ever(alice_client: Client) -> None:
    thread = run(alice_client, make())

    assert (thread.ttl_minutes, thread.expires_at) == (None, None)


def test_a_run_begins_the_time_anew(alice_client: Client) -> None:
    soon = Now() + timedelta(seconds=1)
    thread = make(ttl_minutes=5, ttl_strategy="keep_latest", expires_at=soon)

    thread = run(alice_client, thread)

    assert thread.expires_at is not None
    assert thread.expires_at - thread.updated_at > timedelta(minutes=4)
    assert thread.ttl_strategy == "keep_latest"


def test_the_end_of_a_run_begins_the_time_anew(alice_client: Client) -> None:
    thread = run(alice_client, make(ttl_minutes=5))
    Thread.objects.update(expires_at=Now())

    path = f"/threads/{thread.id}/runs"
    [waiting] = alice_client.call("get", path).json()
    alice_client.call("post", f"{path}/{waiting['run_id']}/cancel")

    thread.refresh_from_db()
    assert thread.status == "idle"
    assert thread.expires_at is not None
    assert thread.expires_at - thread.updated_at > timedelta(minutes=4)


def test_a_run_gives_an_old_thread_the_configured_ttl(
    alice_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = TTLConfig(minutes=7, strategy="keep_latest")
    monkeypatch.setattr("spool.threads.ttl.ttl_config", lambda: config)

    thread = run(alice_client, make())

    assert thread.ttl_minutes == 7
    assert thread.ttl_strategy == "keep_latest"
    assert thread.expires_at is not None
