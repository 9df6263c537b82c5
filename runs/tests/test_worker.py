"""A worker's threads between runs."""

from __future__ import annotations

import threading
from typing import Any

import psycopg
import pytest
from django.db import connection, connections, transaction

from spool.database.loop import Loop, conninfo
from spool.runs import lifecycle, recovery, tasks
from spool.runs.models import Run, Worker
from spool.runs.worker import worker as worker_module
from spool.runs.worker.slots import Slots
from spool.tests.live import WAIT_SECS, wait_until
from spool.threads.models import Thread

pytestmark = pytest.mark.django_db(transaction=True)


def waiting_for_locks() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(DISTINCT pid) FROM pg_locks WHERE NOT granted")
        return int(cursor.fetchone()[0])


def test_one_slot_executes_all_that_came_at_once(
    make_run: Any, thread: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise the only slot is never freed, and no more runs are executed."""
    before = make_run(thread_id=Thread.objects.create().id)
    create_at_once(make_run, thread, 3)
    make_run(thread_id=Thread.objects.create().id)
    me = worker_module.Worker()
    me._slots = Slots(1)
    # Without its heartbeat, whose connection would outlive the test.
    Worker.objects.create(id=me.id, hostname="here", pid=1, capacity=1)
    monkeypatch.setattr(worker_module, "current", lambda: me)
    # The worker is full, so messages are consumed without effect.
    monkeypatch.setattr(tasks, "send", lambda *_, **__: None)
    executing = threading.Thread(
        target=lambda: tasks.execute_run(run_id=str(before.id)), daemon=True
    )

    executing.start()
    executing.join(WAIT_SECS)
    spins = executing.is_alive()
    me._stopping.set()
    executing.join(WAIT_SECS)
    loop, executor = me._loop_and_executor()
    loop.run(executor.redis.aclose())
    loop.close()

    assert not spins
    assert not Run.objects.active().exists()


def test_a_run_that_nothing_executes_is_given_up_in_the_end(
    make_run: Any, loop: Loop, settings: Any
) -> None:
    """The response to a claim may be lost, or an attempt may fail unexpectedly."""
    settings.WORKER_LEASE_SECS = 0
    run = make_run()
    me = worker_module.Worker()
    Worker.objects.create(id=me.id, hostname="here", pid=1, capacity=1)

    losses = []
    with psycopg.connect(conninfo(), autocommit=True) as conn:
        for _ in range(settings.BG_JOB_MAX_ATTEMPTS):
            loop.run(lifecycle.claim(loop.pool, run.id, me.id))
            me._beat(conn)
            settings.WORKER_LEASE_SECS = 10
            recovery.recover_lost_runs()
            settings.WORKER_LEASE_SECS = 0
            run.refresh_from_db()
            losses.append((run.status, run.losses))

    assert losses == [("pending", 1), ("pending", 2), ("error", 2)]


def test_who_was_out_of_touch_does_not_judge_others(
    settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.WORKER_HEARTBEAT_SECS, settings.WORKER_LEASE_SECS = 2, 8
    now = 100.0
    monkeypatch.setattr("spool.runs.worker.worker.time.monotonic", lambda: now)
    contact = worker_module.Contact()

    judged = []
    # New; then for some time; in an outage; back again; and for some time.
    for passed, hears in [(0, True), (2, True), (2, True), (5, False), (0, True)]:
        now += passed
        if hears:
            contact.made()
        judged.append(contact.is_lasting)
    for _ in range(2):
        now += 2
        contact.made()
        judged.append(contact.is_lasting)

    assert judged == [False, False, True, False, False, False, True]


def test_the_heartbeat_prepares_no_statement_behind_pgbouncer(settings: Any) -> None:
    settings.DATABASE_PREPARED_STATEMENTS = False
    me = worker_module.Worker()
    Worker.objects.create(id=me.id, hostname="here", pid=1, capacity=1)

    with me._connect() as conn:
        for _ in range(20):
            me._beat(conn)
        prepared = conn.execute("SELECT name FROM pg_prepared_statements").fetchall()

    assert prepared == []


def create_at_once(make_run: Any, thread: Any, count: int) -> None:
    def create() -> None:
        make_run()
        connections.close_all()

    with transaction.atomic():
        lifecycle.lock_thread(thread.id)
        creating = [threading.Thread(target=create) for _ in range(count)]
        for one in creating:
            one.start()
        wait_until(lambda: waiting_for_locks() == count)
    for one in creating:
        one.join()
