"""Several ticks and callers at once, and ticks that die."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from subprocess import PIPE, Popen
from types import FrameType
from typing import Any

import pytest
from django.conf import LazySettings
from django.db import connection, connections, transaction

from access.policy import authorize
from config.loop import conninfo
from config.tests.locks import wait_until_blocked
from crons import firing, services
from crons.models import Cron, CronFiring
from crons.services import database_now
from runs import lifecycle
from runs.models import Run
from threads.models import Thread

pytestmark = pytest.mark.django_db(transaction=True)

MakeCron = Callable[..., Cron]
MakeDue = Callable[..., None]


def at_once(count: int, act: Callable[[], Any]) -> list[Any]:
    """What `act` answered in that many threads that start together."""
    barrier = threading.Barrier(count)
    answers: list[Any] = []

    def run() -> None:
        try:
            barrier.wait(10)
            answers.append(act())
        finally:
            connections.close_all()

    running = [threading.Thread(target=run) for _ in range(count)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join(60)
    assert len(answers) == count
    return answers


def test_many_ticks_at_once_fire_each_slot_once(
    make_cron: MakeCron, make_due: MakeDue, thread: Thread
) -> None:
    crons = [make_cron(), make_cron(thread), *(make_cron() for _ in range(8))]
    for cron in crons:
        make_due(cron)

    fired = at_once(6, firing.fire_due)

    assert sum(fired) == len(crons)
    assert Run.objects.count() == len(crons)
    assert {firing.cron_id for firing in CronFiring.objects.all()} == {
        cron.id for cron in crons
    }


def test_a_tick_that_dies_leaves_the_cron_due(
    make_cron: MakeCron, make_due: MakeDue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever was done by then, the connection's end takes it back."""
    cron = make_cron()
    make_due(cron)

    class Killed(BaseException):
        pass

    def die(*_: object) -> None:
        raise Killed

    for name in ("make_run", "_move_on", "_save"):
        monkeypatch.setattr(firing, name, die)
        with pytest.raises(Killed):
            firing.fire_due()
        monkeypatch.undo()
        assert not Run.objects.exists()
        assert not CronFiring.objects.exists()
    assert firing.fire_due() == 1
    assert Run.objects.count() == 1


def test_a_tick_that_dies_at_any_line_fires_at_most_once(
    make_cron: MakeCron, make_due: MakeDue, thread: Thread
) -> None:
    """Nothing or all of it, and whichever it was: the next tick makes it once."""
    cron = make_cron(thread)
    lines = 0
    while True:
        Run.objects.all().delete()
        CronFiring.objects.all().delete()
        make_due(cron)
        lines += 1
        tick = DyingTick(lines)
        tick.start()
        tick.join(30)
        # Until Postgres has noticed, the rows are the dead one's.
        wait_until(partial(is_gone, tick.backend))
        left = (Run.objects.count(), CronFiring.objects.count())
        cron.refresh_from_db()
        assert cron.next_run_date is not None
        moved_on = cron.next_run_date > database_now()
        assert (*left, moved_on) in ((0, 0, False), (1, 1, True))
        firing.fire_due()
        assert (Run.objects.count(), CronFiring.objects.count()) == (1, 1)
        if tick.survived:
            break

    assert lines > 50


class Killed(BaseException):
    pass


class DyingTick(threading.Thread):
    """A tick that dies before the so-manieth line of crons' own code.

    As after a SIGKILL, the connection is gone before anything can be said over it.
    """

    def __init__(self, lines: int) -> None:
        super().__init__()
        self.lines_left = lines
        self.survived = False

    def run(self) -> None:
        connection.ensure_connection()
        self.connection = connection.connection
        self.backend = self.connection.info.backend_pid
        sys.settrace(self.trace)
        try:
            firing.fire_due()
            self.survived = True
        except Killed:
            pass
        finally:
            sys.settrace(None)
            self.connection.close()
            if connection.connection:
                connection.connection.close()

    def trace(self, frame: FrameType, event: str, _: object) -> Any:
        name = frame.f_globals.get("__name__", "")
        if not name.startswith("crons.") or name.startswith("crons.tests."):
            return None
        self.lines_left -= event == "line"
        if self.lines_left == 0:
            self.connection.close()
            raise Killed
        return self.trace


def test_a_process_that_is_killed_fires_at_most_once(
    make_cron: MakeCron, make_due: MakeDue, thread: Thread, ticks: Popen[str]
) -> None:
    """A real one, and also in the code of runs; not at each line, for the time's sake."""
    cron = make_cron(thread)
    lines, ended = 1, -signal.SIGKILL
    while ended == -signal.SIGKILL:
        Run.objects.all().delete()
        CronFiring.objects.all().delete()
        make_due(cron)
        ended = killed_before(lines, ticks)
        wait_until(nobody_else_is_in_a_transaction)
        left = (Run.objects.count(), CronFiring.objects.count())
        cron.refresh_from_db()
        assert cron.next_run_date is not None
        moved_on = cron.next_run_date > database_now()
        assert (*left, moved_on) in ((0, 0, False), (1, 1, True))
        firing.fire_due()
        assert (Run.objects.count(), CronFiring.objects.count()) == (1, 1)
        lines += 7

    assert ended == 0
    assert lines > 150


@pytest.fixture
def ticks(settings: LazySettings) -> Iterator[Popen[str]]:
    """The process of `crons.tests.dying`, on the database of the test."""
    given = {
        "DATABASE_URL": conninfo(),
        "REDIS_URL": settings.REDIS_URL,
        "LANGGRAPH_CONFIG": str(settings.LANGGRAPH_CONFIG),
    }
    with Popen(
        [sys.executable, "-W", "ignore", "-m", "crons.tests.dying"],
        stdin=PIPE,
        stdout=PIPE,
        text=True,
        env={**os.environ, **given},
        cwd=settings.BASE_DIR,
    ) as process:
        yield process
        process.communicate()


def killed_before(lines: int, ticks: Popen[str]) -> int:
    assert ticks.stdin
    assert ticks.stdout
    print(lines, file=ticks.stdin, flush=True)
    return int(ticks.stdout.readline())


def nobody_else_is_in_a_transaction() -> bool:
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT NOT EXISTS (
                SELECT FROM pg_stat_activity WHERE datname = current_database()
                    AND pid <> pg_backend_pid() AND xact_start IS NOT NULL
            )
            """
        )
        found: bool = cursor.fetchone()[0]
    return found


def test_a_thread_that_somebody_holds_holds_up_nobody_else(
    make_cron: MakeCron, make_due: MakeDue, thread: Thread
) -> None:
    held, free = make_cron(thread), make_cron()
    make_due(held, seconds=3)
    make_due(free)

    with transaction.atomic():
        lifecycle.lock_thread(thread.id)
        at_once(1, firing.fire_due)
        assert [record.cron_id for record in CronFiring.objects.all()] == [free.id]
    firing.fire_due()

    assert held.firings.get().run_id is not None


def test_crons_that_cannot_fire_do_not_use_up_the_tick(
    make_cron: MakeCron,
    make_due: MakeDue,
    thread: Thread,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(firing, "BATCH", 1)
    monkeypatch.setattr(firing, "MOST_BATCHES", 2)
    for _ in range(3):
        make_due(make_cron(thread), seconds=5)
    free = [make_cron() for _ in range(3)]
    for cron in free:
        make_due(cron)

    with transaction.atomic():
        lifecycle.lock_thread(thread.id)
        fired = [at_once(1, firing.fire_due) for _ in range(3)]
        records = {record.cron_id for record in CronFiring.objects.all()}

    assert fired == [[2], [1], [0]]
    assert records == {cron.id for cron in free}


@pytest.mark.parametrize("batch", [2, 50])
def test_a_tick_waits_once_for_a_thread_that_somebody_holds(
    make_cron: MakeCron,
    make_due: MakeDue,
    thread: Thread,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    batch: int,
) -> None:
    monkeypatch.setattr(firing, "BATCH", batch)
    crons = [make_cron(thread) for _ in range(5)]
    for cron in crons:
        make_due(cron)

    with transaction.atomic():
        lifecycle.lock_thread(thread.id)
        held = at_once(1, firing.fire_due)
        waits = [one for one in caplog.messages if "waits for the next tick" in one]
    fired = firing.fire_due()

    assert (held, len(waits)) == ([0], 1)
    assert fired == len(crons)


@pytest.mark.parametrize(("method", "path"), [("delete", ""), ("post", "/run")])
def test_a_call_about_a_cron_that_is_firing_waits_for_the_tick(
    alice_client: Any, make_cron: MakeCron, make_due: MakeDue, method: str, path: str
) -> None:
    cron = make_cron()
    make_due(cron)
    answers: list[Any] = []

    def call() -> None:
        answers.append(alice_client.call(method, f"/runs/crons/{cron.id}{path}"))
        connections.close_all()

    with transaction.atomic():
        firing.fire_due()
        calling = threading.Thread(target=call)
        calling.start()
        wait_until_blocked()
    calling.join(30)

    assert answers[0].status_code in (200, 204)


def test_run_now_of_a_cron_that_is_being_deleted_is_missing(
    alice_client: Any, make_cron: MakeCron
) -> None:
    cron = make_cron()
    answers: list[Any] = []

    def call() -> None:
        answers.append(alice_client.call("post", f"/runs/crons/{cron.id}/run"))
        connections.close_all()

    with transaction.atomic():
        Cron.objects.get(pk=cron.pk).delete()
        calling = threading.Thread(target=call)
        calling.start()
        wait_until_blocked()
    calling.join(30)

    assert answers[0].status_code == 404
    assert not Run.objects.exists()


@pytest.mark.parametrize(
    ("first", "method", "body"),
    [
        ({"input": "dear"}, "patch", {"assistant_id": "echo"}),
        ({"input": "dear"}, "patch", {"schedule": "@daily"}),
        ({"metadata": {"a": 1}}, "patch", {"metadata": {"b": 2}}),
        ({"input": "dear"}, "post", None),
    ],
)
def test_what_is_done_is_what_the_policy_was_asked_about(
    alice_client: Any,
    make_cron: MakeCron,
    monkeypatch: pytest.MonkeyPatch,
    first: dict[str, Any],
    method: str,
    body: Any,
) -> None:
    """Also where somebody else changes the cron after the policy has answered."""
    cron = make_cron(input="cheap")
    path = f"/runs/crons/{cron.id}" + ("/run" if method == "post" else "")
    answers: list[Any] = []
    asked: list[Any] = []

    def note(request: Any, event: str, value: dict[str, Any]) -> Any:
        if event == "threads.create_run":
            asked.append((value["kwargs"]["input"], dict(value["metadata"])))
        return authorize(request, event, value)

    def call() -> None:
        answers.append(alice_client.call(method, path, body))
        connections.close_all()

    monkeypatch.setattr("crons.views.authorize", note)
    with transaction.atomic():
        stamp = first.get("metadata", {})
        services.update_cron(cron=cron, changes=first, stamp=stamp)
        calling = threading.Thread(target=call)
        calling.start()
        wait_until_blocked()
    calling.join(30)

    assert answers[0].status_code == 200
    cron.refresh_from_db()
    told = {"input": cron.payload["input"], "metadata": cron.metadata}
    # Asked once about what was there, and again about what is done.
    assert [told_of for told_of, _ in asked] == ["cheap", told["input"]]
    assert first.items() <= told.items() or stamp.items() <= cron.metadata.items()
    assert asked[-1][1].items() >= cron.metadata.items()


def test_a_cron_that_changes_all_the_while_is_left_alone(
    alice_client: Any, make_cron: MakeCron, monkeypatch: pytest.MonkeyPatch
) -> None:
    cron = make_cron(input=0)

    def change(request: Any, event: str, value: dict[str, Any]) -> Any:
        if event == "threads.create_run":
            now = Cron.objects.get(pk=cron.pk)
            given = {"input": now.payload["input"] + 1}
            services.update_cron(cron=now, changes=given, stamp={})
        return authorize(request, event, value)

    monkeypatch.setattr("crons.views.authorize", change)
    changed = alice_client.call("patch", f"/runs/crons/{cron.id}", {"metadata": {}})
    run = alice_client.call("post", f"/runs/crons/{cron.id}/run")

    assert (changed.status_code, run.status_code) == (409, 409)
    assert not Run.objects.exists()


@pytest.mark.parametrize(
    ("first", "method", "body"),
    [
        ({"input": "dear"}, "patch", {"enabled": False}),
        ({"schedule": "@daily"}, "patch", {"input": "cheaper"}),
        ({"enabled": False}, "post", None),
    ],
)
def test_what_no_policy_looks_at_may_change_in_between(
    alice_client: Any, make_cron: MakeCron, first: Any, method: str, body: Any
) -> None:
    cron = make_cron(input="cheap")
    path = f"/runs/crons/{cron.id}" + ("/run" if method == "post" else "")
    answers: list[Any] = []

    def call() -> None:
        answers.append(alice_client.call(method, path, body))
        connections.close_all()

    with transaction.atomic():
        services.update_cron(cron=cron, changes=first, stamp={})
        calling = threading.Thread(target=call)
        calling.start()
        wait_until_blocked()
    calling.join(30)

    assert answers[0].status_code == 200


def is_gone(backend: int) -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT FROM pg_stat_activity WHERE pid = %s", [backend])
        return cursor.fetchone() is None


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_change_during_a_tick_is_not_lost(
    alice_client: Any, make_cron: MakeCron, make_due: MakeDue
) -> None:
    """A tick leaves alone what somebody is changing, and waits for nobody."""
    cron = make_cron()
    make_due(cron)

    with transaction.atomic():
        Cron.objects.select_for_update().get(pk=cron.pk)
        (fired,) = at_once(1, firing.fire_due)

    assert fired == 0
    assert firing.fire_due() == 1


def test_thirty_changes_at_once_are_all_there(make_cron: MakeCron) -> None:
    cron = make_cron()
    names = iter([f"key{n}" for n in range(30)])
    lock = threading.Lock()

    def change() -> None:
        with lock:
            name = next(names)
        stamp = {name: 1}
        services.update_cron(cron=cron, changes={"metadata": stamp}, stamp=stamp)

    at_once(30, change)

    cron.refresh_from_db()
    assert len(cron.metadata) == 31
