from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from threading import Event, Semaphore
from typing import Any

import pytest
from django.conf import LazySettings
from django.db import connection

from spool.access.policy import EVERYTHING
from spool.assistants.factories import Factory
from spool.assistants.graphs import registry
from spool.database.ids import uuid7
from spool.database.tests.together import at_once
from spool.threads.models import Thread
from spool.threads.services import (
    ThreadExists,
    create_thread,
    delete_threads,
    update_thread,
)
from spool.threads.state import get_state
from spool.threads.tests.running import make_thread
from spool.threads.thread_request import NewThread, ThreadChanges
from spool.threads.updates import state_update, update_state

MANY = 30

pytestmark = pytest.mark.django_db(transaction=True)


def test_parallel_updates_lose_no_key() -> None:
    thread = Thread.objects.create()

    def update(number: int) -> None:
        this = Thread.objects.filter(pk=thread.pk)
        update_thread(this, ThreadChanges({f"key{number}": 1}))

    at_once([partial(update, number) for number in range(MANY)])

    thread.refresh_from_db()
    assert thread.metadata == {f"key{number}": 1 for number in range(MANY)}


@pytest.mark.parametrize(
    ("if_exists", "answered"), [("raise", 1), ("do_nothing", MANY)]
)
def test_parallel_creates_of_one_id_make_one_thread(
    if_exists: str, answered: int
) -> None:
    thread_id = uuid7()

    def create(number: int) -> bool | None:
        try:
            new = NewThread(thread_id, {"by": number}, if_exists=if_exists)
            _, is_new = create_thread(EVERYTHING, new)
        except ThreadExists:
            return None
        return is_new

    answers = at_once([partial(create, number) for number in range(MANY)])

    assert answers.count(True) == 1
    assert MANY - answers.count(None) == answered
    assert Thread.objects.count() == 1


def test_parallel_deletes_delete_once() -> None:
    thread = Thread.objects.create()

    def delete() -> int:
        return delete_threads(Thread.objects.filter(pk=thread.pk))

    deleted = at_once([delete] * MANY)

    assert sum(deleted) == 1


def test_a_graph_that_takes_its_time_holds_no_connection(
    monkeypatch: pytest.MonkeyPatch, settings: LazySettings
) -> None:
    being_made, go_on = Semaphore(0), Event()

    async def slow() -> Any:
        being_made.release()
        await asyncio.to_thread(go_on.wait)
        return human

    def update(thread: Thread) -> Any:
        try:
            return update_state(thread, [[state_update({"topic": "new"}, "ask")]])
        finally:
            connection.close()

    sources = registry()._sources
    human = sources["human"]
    monkeypatch.setitem(sources, "waiting", Factory(slow))
    waiting = [make_thread("waiting") for _ in range(settings.CHECKPOINT_POOL_SIZE)]
    other = make_thread("human", {"topic": "t"})

    with ThreadPoolExecutor(len(waiting)) as threads:
        updates = [threads.submit(update, thread) for thread in waiting]
        try:
            for _ in waiting:
                assert being_made.acquire(timeout=30)
            seen = get_state(other)
        finally:
            go_on.set()

    assert seen.values["topic"] == "t"
    assert all(update.result() for update in updates)
    assert get_state(waiting[0]).values["topic"] == "new"
