"""Deleting a thread with active runs stops them, and deletes all of their data."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest
from django.conf import LazySettings

from spool.database.ids import uuid7
from spool.runs import services
from spool.runs.models import Run
from spool.runs.streaming import events
from spool.runs.streaming.writer import publish_end
from spool.threads.models import Thread
from spool.threads.services import delete_threads

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, UUID]]:
    """The sent messages: signals to stop runs, and published ends."""
    said: list[tuple[str, UUID]] = []
    monkeypatch.setattr(
        events, "signal_stop", lambda run_id, action: said.append((action, run_id))
    )
    monkeypatch.setattr(
        services,
        "publish_end",
        lambda thread_id, run_id, *_, **__: said.append(("end", run_id)),
    )
    return said


def make_run(thread: Thread, status: str) -> Run:
    return Run.objects.create(
        thread=thread, assistant_id=uuid7(), graph_id="echo", status=status
    )


def test_deleting_a_thread_stops_its_runs(told: list[Any]) -> None:
    thread, other = Thread.objects.create(), Thread.objects.create()
    make_run(thread, "success")
    running, pending = make_run(thread, "running"), make_run(thread, "pending")
    kept = make_run(other, "running")

    deleted = delete_threads(Thread.objects.filter(pk=thread.pk))

    assert deleted == 1
    assert list(Run.objects.all()) == [kept]
    assert sorted(told, key=str) == sorted(
        (word, run.id) for run in (running, pending) for word in ("end", "rollback")
    )


def test_a_failed_deletion_is_not_published(
    told: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    thread = Thread.objects.create()
    make_run(thread, "running")

    def fail(ids: Any) -> None:
        raise RuntimeError

    monkeypatch.setattr("spool.threads.services.delete_checkpoints", fail)
    with pytest.raises(RuntimeError):
        delete_threads(Thread.objects.filter(pk=thread.pk))

    assert told == []
    assert Run.objects.count() == 1


def test_who_takes_the_id_of_a_deleted_thread_sees_none_of_its_events() -> None:
    thread, other = Thread.objects.create(), Thread.objects.create()
    for one in (thread, other):
        publish_end(one.id, make_run(one, "success").id, "success", generation=0)

    delete_threads(Thread.objects.filter(pk=thread.pk))

    assert events.newest_id(thread.id) == (0, 0)
    assert events.newest_id(other.id) != (0, 0)


def test_without_redis_a_thread_is_deleted_all_the_same(
    settings: LazySettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.REDIS_URL = "redis://127.0.0.1:1/0"
    monkeypatch.setattr(events, "redis_client", events.redis_client.__wrapped__)
    thread = Thread.objects.create()

    assert delete_threads(Thread.objects.filter(pk=thread.pk)) == 1
