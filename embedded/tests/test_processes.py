"""Children end with their supervisor, and no other process is ended."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from spool.embedded import processes
from spool.embedded.home import Home
from spool.embedded.processes import CannotStart, Mark
from spool.embedded.supervisor import Child, Options, Programs, Supervisor, given

PARENT = """
import signal, subprocess, sys
from spool.embedded import processes
child = processes.spawn(
    ["sleep", "600"], output=subprocess.DEVNULL, death_signal=signal.SIGTERM
)
print(child.pid, flush=True)
child.wait()
"""


def is_running(pid: int) -> bool:
    return processes.start_time(pid) is not None


def wait_for_end(pid: int) -> None:
    deadline = time.monotonic() + 60
    while is_running(pid):
        assert time.monotonic() < deadline, f"{pid} is still running"
        time.sleep(0.02)


def test_a_child_ends_with_a_parent_that_is_killed() -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout
    child = int(parent.stdout.readline())
    assert is_running(child)

    parent.kill()
    parent.communicate()

    wait_for_end(child)


def test_a_leftover_of_the_same_start_time_is_ended() -> None:
    left = subprocess.Popen(["sleep", "600"])
    started = processes.start_time(left.pid)
    assert started is not None

    processes.end_leftover(Mark("sleep", left.pid, started, signal.SIGTERM))

    assert left.wait(timeout=60) == -signal.SIGTERM


def test_a_process_that_only_has_the_pid_of_a_leftover_is_left_alone() -> None:
    stranger = subprocess.Popen(["sleep", "600"])
    started = processes.start_time(stranger.pid)
    assert started is not None

    processes.end_leftover(Mark("sleep", stranger.pid, started - 1, signal.SIGKILL))

    assert stranger.poll() is None
    stranger.kill()
    stranger.wait()


def test_a_zombie_counts_as_dead() -> None:
    zombie = subprocess.Popen(["true"])
    os.waitid(os.P_PID, zombie.pid, os.WEXITED | os.WNOWAIT)

    assert processes.start_time(zombie.pid) is None
    zombie.wait()


def test_a_child_that_will_not_stop_is_killed() -> None:
    stubborn = subprocess.Popen(
        ["sh", "-c", "trap '' TERM; echo ready; while :; do sleep 0.1; done"],
        stdout=subprocess.PIPE,
    )
    assert stubborn.stdout
    stubborn.stdout.readline()

    processes.stop(stubborn, signal.SIGTERM, timeout=0.2)

    assert stubborn.returncode == -signal.SIGKILL
    stubborn.stdout.close()


def test_a_home_is_held_by_one_server(tmp_path: Path) -> None:
    with closing(Home(tmp_path / "home")) as home:
        with pytest.raises(CannotStart, match="already running in"):
            Home(tmp_path / "home")

        assert home.path.stat().st_mode & 0o777 == 0o700
    Home(tmp_path / "home").close()


def test_a_home_that_others_may_enter_tells_them_nothing(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir(mode=0o755)

    with closing(Home(tmp_path / "home")) as home:
        home.publish_urls({"DATABASE_URL": "postgresql://ann:secret@db/spool"})

        assert home.logs.stat().st_mode & 0o777 == 0o700
        assert (home.path / "urls.json").stat().st_mode & 0o777 == 0o600


def test_a_home_that_cannot_be_made_says_why(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(CannotStart, match=r"SPOOL_HOME: .*Not a directory"):
        Home(tmp_path / "file" / "home")


def test_remembered_processes_are_cleared_at_the_next_start(tmp_path: Path) -> None:
    left = subprocess.Popen(["sleep", "600"])
    started = processes.start_time(left.pid)
    assert started is not None
    with closing(Home(tmp_path / "home")) as home:
        home.remember([Mark("web", left.pid, started, signal.SIGKILL)])

        home.clear_leftovers()

    assert left.wait(timeout=60) == -signal.SIGKILL


class Ending(Child):
    """A child that ends right after a check has found it alive."""

    @property
    def mark(self) -> Mark | None:
        found, self.process = super().mark, None
        return found


def test_a_child_that_ends_while_it_is_remembered_stops_no_start(
    tmp_path: Path,
) -> None:
    options = Options(tmp_path, "127.0.0.1", 0, 0, home=tmp_path)
    parts = Programs("spool", [], [], [], [], preload=lambda: None)
    supervisor = Supervisor(options, parts)
    process = subprocess.Popen(["sleep", "600"])
    child = Ending("web", lambda: process, signal.SIGTERM, 1, signal.SIGKILL)
    supervisor.children = [child]
    child.run()

    try:
        supervisor._remember()
    finally:
        process.kill()
        process.wait()

    [remembered] = json.loads((tmp_path / "processes.json").read_text())
    assert remembered["pid"] == process.pid
    supervisor.home.close()


@pytest.mark.parametrize("content", ["", "{not json", "[]"])
def test_a_damaged_list_of_processes_does_not_stop_the_start(
    tmp_path: Path, content: str
) -> None:
    with closing(Home(tmp_path / "home")) as home:
        (home.path / "processes.json").write_text(content)

        home.clear_leftovers()


def test_a_variable_of_spaces_names_no_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPOOL_TEST_A", "  ")
    monkeypatch.setenv("SPOOL_TEST_B", " postgresql://db ")

    assert given(("SPOOL_TEST_A",)) == ""
    assert given(("SPOOL_TEST_A", "SPOOL_TEST_B")) == "postgresql://db"
