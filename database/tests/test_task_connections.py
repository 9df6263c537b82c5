from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connection, connections

from spool.database import task_connections

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _nothing_is_left() -> Iterator[None]:
    yield
    while task_connections._idle:
        task_connections._idle.pop().close()


def as_a_task(during: Callable[[], object] = lambda: None) -> int:
    """The Postgres process of the connection that a task of this thread uses."""
    task_connections.take()
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_backend_pid()")
            pid = int(cursor.fetchone()[0])
        during()
        return pid
    finally:
        task_connections.give_back()


def in_threads(number: int, during: Callable[[], object] = lambda: None) -> list[int]:
    with ThreadPoolExecutor(number) as threads:
        return list(threads.map(lambda _: as_a_task(during), range(number)))


def in_a_thread() -> int:
    return in_threads(1)[0]


def test_tasks_one_after_another_share_one_connection() -> None:
    pids = {in_a_thread() for _ in range(5)}

    assert len(pids) == 1


def test_tasks_at_once_have_their_own_connections() -> None:
    barrier = threading.Barrier(3)

    pids = in_threads(3, barrier.wait)

    assert len(set(pids)) == 3
    assert in_a_thread() in pids


def test_a_connection_that_died_is_made_anew() -> None:
    pid = in_a_thread()
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(%s, 5000)", [pid])

    assert in_a_thread() != pid


def test_a_task_that_asked_nothing_leaves_nothing() -> None:
    def ask_nothing() -> None:
        task_connections.take()
        task_connections.give_back()

    thread = threading.Thread(target=ask_nothing)
    thread.start()
    thread.join()

    assert task_connections._idle == []
    # This thread keeps its own connection.
    assert connections.all(initialized_only=True)
