"""Dead workers of this machine, and only those, are detected at once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from uuid import UUID

import pytest
from django.conf import LazySettings

from spool.database.ids import uuid7
from spool.runs.presence import Presence, remove_dead

HOLD = """
import fcntl, os, sys
file = os.open(sys.argv[1], os.O_CREAT | os.O_RDWR)
fcntl.flock(file, fcntl.LOCK_EX)
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def home(settings: LazySettings, tmp_path: Path) -> Path:
    settings.SPOOL_HOME = tmp_path
    return tmp_path


def dead() -> list[UUID]:
    found: list[UUID] = []
    remove_dead(found.extend)
    return found


def test_a_worker_that_lives_is_not_taken_for_dead(home: Path) -> None:
    presence = Presence()
    presence.announce(uuid7())

    assert dead() == []
    presence.withdraw()
    assert dead() == []


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_worker_that_ended_is_found_once(home: Path, number: int) -> None:
    worker_id = uuid7()
    path = home / "workers" / str(worker_id)
    path.parent.mkdir()
    command = [sys.executable, "-c", HOLD, str(path)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "held\n"
        os.kill(process.pid, signal.SIGSTOP)
        while_it_hangs = dead()
        os.kill(process.pid, signal.SIGCONT)
        process.send_signal(number)

    assert while_it_hangs == []
    assert dead() == [worker_id]
    assert dead() == []


def test_one_whose_end_could_not_be_noted_is_found_again(home: Path) -> None:
    worker_id = uuid7()
    (home / "workers").mkdir()
    (home / "workers" / str(worker_id)).touch()

    def fail(worker_ids: Sequence[UUID]) -> None:
        raise ConnectionError

    with pytest.raises(ConnectionError):
        remove_dead(fail)

    assert dead() == [worker_id]


def test_a_home_that_cannot_be_written_stops_nothing(
    settings: LazySettings, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    settings.SPOOL_HOME = tmp_path / "file"
    presence = Presence()

    presence.announce(uuid7())

    assert dead() == []
    presence.withdraw()
