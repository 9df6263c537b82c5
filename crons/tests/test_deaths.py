"""Ticks that die at any line."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from functools import partial
from subprocess import PIPE, Popen
from types import FrameType
from typing import Any

import pytest
from django.conf import LazySettings
from django.db import connection

from spool.crons import firing, together
from spool.crons.models import Cron, CronFiring
from spool.crons.services import database_now
from spool.crons.tests.conftest import MakeCron, MakeDue
from spool.database.loop import conninfo
from spool.runs.models import Run
from spool.tests.live import ROOT, WAIT_SECS, wait_until
from spool.threads.models import Thread

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_tick_that_dies_leaves_the_cron_due(
    make_cron: MakeCron, make_due: MakeDue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The end of the connection rolls everything back."""
    cron = make_cron()
    make_due(cron)

    class Killed(BaseException):
        pass

    def die(*_: object) -> None:
        raise Killed

    for module, name in (
        (together, "set_first_slot"),
        (together, "note_run"),
        (together, "_save"),
    ):
        monkeypatch.setattr(module, name, die)
        with pytest.raises(Killed):
            firing.fire_due()
        monkeypatch.undo()
        assert not Run.objects.exists()
        assert not CronFiring.objects.exists()
    assert firing.fire_due() == 1
    assert Run.objects.count() == 1


def assert_fired_at_most_once(crons: list[Cron]) -> None:
    """All crons of a batch have fired, or none; after the next tick, each has once."""
    left = (Run.objects.count(), CronFiring.objects.count())
    later = Cron.objects.filter(next_run_date__gt=database_now()).count()
    assert (*left, later) in ((0, 0, 0), (len(crons),) * 3)
    firing.fire_due()
    fired = CronFiring.objects.values_list("cron_id", flat=True)
    assert sorted(fired) == sorted(cron.id for cron in crons)
    assert Run.objects.count() == len(crons)


@pytest.fixture
def crons(make_cron: MakeCron, thread: Thread) -> list[Cron]:
    return [make_cron(thread), make_cron(), make_cron(on_run_completed="keep")]


def test_a_tick_that_dies_at_any_line_fires_at_most_once(
    crons: list[Cron], make_due: MakeDue
) -> None:
    lines = 0
    while True:
        Run.objects.all().delete()
        CronFiring.objects.all().delete()
        for cron in crons:
            make_due(cron)
        lines += 1
        tick = DyingTick(lines)
        tick.start()
        tick.join(WAIT_SECS)
        # Until Postgres notices, the dead connection still holds the rows' locks.
        wait_until(partial(is_gone, tick.backend), pause=0.01)
        assert_fired_at_most_once(crons)
        if tick.survived:
            break

    assert lines > 50


class Killed(BaseException):
    pass


class DyingTick(threading.Thread):
    """A tick that dies before a given line of the crons' code.

    As after a SIGKILL, the connection is closed before it can send anything.
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
        if not name.startswith("spool.crons.") or name.startswith("spool.crons.tests."):
            return None
        self.lines_left -= event == "line"
        if self.lines_left == 0:
            self.connection.close()
            raise Killed
        return self.trace


def test_a_process_that_is_killed_fires_at_most_once(
    crons: list[Cron], make_due: MakeDue, ticks: Popen[str]
) -> None:
    """A process that really dies, also in the code of runs.

    It doesn't die at every line, to save time.
    """
    lines, ended = 1, -signal.SIGKILL
    while ended == -signal.SIGKILL:
        Run.objects.all().delete()
        CronFiring.objects.all().delete()
        for cron in crons:
            make_due(cron)
        ended = killed_before(lines, ticks)
        wait_until(no_other_session_is_in_a_transaction, pause=0.01)
        assert_fired_at_most_once(crons)
        lines += 17

    assert ended == 0
    assert lines > 150


@pytest.fixture
def ticks(settings: LazySettings) -> Iterator[Popen[str]]:
    """A process of `crons.tests.dying`, on the test database."""
    given = {
        "DATABASE_URL": conninfo(),
        "REDIS_URL": settings.REDIS_URL,
        "LANGGRAPH_CONFIG": str(settings.LANGGRAPH_CONFIG),
    }
    with Popen(
        [sys.executable, "-W", "ignore", "-m", "spool.crons.tests.dying"],
        stdin=PIPE,
        stdout=PIPE,
        text=True,
        env={**os.environ, **given},
        cwd=ROOT,
    ) as process:
        yield process
        process.communicate()


def killed_before(lines: int, ticks: Popen[str]) -> int:
    assert ticks.stdin
    assert ticks.stdout
    print(lines, file=ticks.stdin, flush=True)
    return int(ticks.stdout.readline())


def no_other_session_is_in_a_transaction() -> bool:
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


def is_gone(backend: int) -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT FROM pg_stat_activity WHERE pid = %s", [backend])
        return cursor.fetchone() is None
