"""Messages that arrive while a slot, or room under a limit, is about to become free.

No tick replaces them here.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import closing as closing_connection
from typing import Any
from uuid import UUID

import pytest
from django.db import connection
from django.db.backends.utils import CursorWrapper

from spool.database.tests.together import closing
from spool.runs import lifecycle, queue, tasks
from spool.runs.lifecycle import Ended
from spool.runs.models import Run, Worker
from spool.runs.worker import worker as worker_module
from spool.runs.worker.slots import Slots
from spool.tests.live import wait_until
from spool.threads.models import Thread

pytestmark = pytest.mark.django_db(transaction=True)

SLOTS = 3
Make = Callable[[], Run]


@pytest.fixture
def me(db: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[worker_module.Worker]:
    """A worker with a few slots, without its heartbeat, which gets each message at once."""
    me = worker_module.Worker()
    me._slots = Slots(SLOTS)
    Worker.objects.create(id=me.id, hostname="here", pid=1, capacity=SLOTS)
    monkeypatch.setattr(worker_module, "current", lambda: me)
    monkeypatch.setattr(tasks, "send", _take)
    yield me
    loop, executor = me._loop_and_executor()
    loop.run(executor.redis.aclose())
    loop.close()


def _take(task: Any, run_id: str, hops: int = 0) -> None:
    tasks.wake(UUID(run_id), hops)


@pytest.fixture
def make(make_run: Callable[..., Run], me: worker_module.Worker) -> Make:
    """Creates a run on its own thread, and wakes the worker."""
    return lambda: make_run(thread_id=Thread.objects.create().id, input={"a": 1})


class Ends:
    """Ends of runs that have found no next run; they continue at the same time."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._end = lifecycle.end
        self._together = asyncio.Barrier(SLOTS)
        # All ends of a round, and the test, pass it before and after the test acts.
        self.reached = threading.Barrier(2)
        monkeypatch.setattr("spool.runs.lifecycle.end", self._waiting)

    async def _waiting(self, *args: Any, **kwargs: Any) -> Ended | None:
        # By then each slot has a run, so that no end claims one of these.
        await self._together.wait()
        ended = await self._end(*args, **kwargs)
        assert ended is not None
        assert (ended.has_asked, ended.claim) == (True, None)
        if await self._together.wait() == 0:
            await asyncio.to_thread(self.reached.wait, 60)
            await asyncio.to_thread(self.reached.wait, 60)
        await self._together.wait()
        return ended


@pytest.fixture
def ends(monkeypatch: pytest.MonkeyPatch) -> Ends:
    return Ends(monkeypatch)


def let_all_slots_end(make: Make, ends: Ends) -> None:
    for _ in range(SLOTS):
        make()
    ends.reached.wait(60)


def is_idle(me: worker_module.Worker) -> bool:
    return not me._is_busy()


def test_each_run_that_comes_while_all_slots_end_gets_one(
    me: worker_module.Worker, make: Make, ends: Ends
) -> None:
    let_all_slots_end(make, ends)
    for _ in range(SLOTS):
        make()
    assert Run.objects.pending().count() == SLOTS

    ends.reached.wait(60)
    # All at once: these wait for each other, too.
    ends.reached.wait(60)
    ends.reached.wait(60)

    wait_until(lambda: is_idle(me))
    assert Run.objects.filter(status="success").count() == 2 * SLOTS


def test_a_missed_run_that_is_paused_leaves_the_slots_to_others(
    me: worker_module.Worker, make: Make, ends: Ends
) -> None:
    let_all_slots_end(make, ends)
    paused = make()
    queue.pause("owner", paused.fairness_group)

    ends.reached.wait(60)
    wait_until(lambda: is_idle(me))
    queue.resume("owner", paused.fairness_group)
    tasks.wake(paused.id)
    for _ in range(SLOTS - 1):
        make()
    ends.reached.wait(60)
    ends.reached.wait(60)

    wait_until(lambda: is_idle(me))
    assert Run.objects.filter(status="success").count() == 2 * SLOTS


def test_a_worker_that_stops_sends_on_what_it_has_missed(
    me: worker_module.Worker,
    make: Make,
    ends: Ends,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    let_all_slots_end(make, ends)
    missed = make()
    sent = []
    monkeypatch.setattr(tasks, "send", lambda task, run_id: sent.append(UUID(run_id)))
    stopping = threading.Thread(target=closing(lambda: me.stop(60)))
    stopping.start()
    wait_until(lambda: me.is_stopping)

    ends.reached.wait(60)
    stopping.join(60)
    me._announcer.shutdown()

    missed.refresh_from_db()
    assert missed.status == "pending"
    assert missed.id in sent


# An end is committed once its lock is free, with all that it has written and read.
HELD_ENDS = """
CREATE FUNCTION hold_end() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(21);
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER hold_end AFTER UPDATE ON runs
DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
WHEN (NEW.status = 'success') EXECUTE FUNCTION hold_end()
"""
FREE_ENDS = "DROP TRIGGER hold_end ON runs; DROP FUNCTION hold_end"
WAITING = "SELECT EXISTS (SELECT FROM pg_locks WHERE objid = 21 AND NOT granted)"


@pytest.fixture
def held_ends(db: None) -> Iterator[CursorWrapper]:
    with connection.cursor() as cursor:
        cursor.execute(HELD_ENDS)
        cursor.execute("SELECT pg_advisory_lock(21)")
        yield cursor
        cursor.execute("SELECT pg_advisory_unlock_all()")
        cursor.execute(FREE_ENDS)


@pytest.mark.parametrize("limited", ["all owners", "one owner", "graph"])
def test_a_run_at_a_limit_that_comes_while_another_one_ends_is_executed(
    me: worker_module.Worker,
    make: Make,
    held_ends: CursorWrapper,
    settings: Any,
    limited: str,
) -> None:
    settings.MAX_RUNNING_PER_OWNER = int(limited == "all owners")
    settings.MAX_RUNNING_PER_GRAPH = int(limited == "graph")
    if limited == "one owner":
        queue.limit_owner("", 1)
        with closing_connection(me._connect()) as database:
            me._beat(database)
    make()

    def is_held() -> bool:
        held_ends.execute(WAITING)
        return bool(held_ends.fetchone()[0])

    wait_until(is_held)
    late = make()
    wait_until(lambda: me._chains == 1)  # It found no room.
    late.refresh_from_db()
    status_at_limit = late.status
    held_ends.execute("SELECT pg_advisory_unlock(21)")

    wait_until(lambda: is_idle(me))
    late.refresh_from_db()
    assert (status_at_limit, late.status) == ("pending", "success")
