"""Forked programs behave as if they were started separately."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from spool.embedded import processes
from spool.tests.live import wait_until

ROOT = Path(__file__).resolve().parents[2]
# Starts the module in the first argument, and ends with it.
PARENT = """
import signal, sys
from pathlib import Path
from spool.embedded import programs
from spool.embedded.home import Home
module, home, *arguments = sys.argv[1:]
with Home(Path(home)).log("program") as log:
    child = programs.start(
        module, arguments, output=log, death_signal=signal.SIGKILL
    )
print(child.pid, flush=True)
sys.exit(child.wait() % 256)
"""
# A program that prints its environment.
REPORT = """
import os, signal, sys
print(sys.argv[1:], __name__, os.getcwd(), os.getsid(0) == os.getpid(), flush=True)
print(signal.getsignal(signal.SIGTERM) == signal.SIG_DFL, sys.stdin.read(), flush=True)
sys.exit(7)
"""
WAIT = "import time; print('here', flush=True); time.sleep(600)"


@contextmanager
def started(home: Path, *words: str) -> Iterator[subprocess.Popen[str]]:
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, words[0], str(home), *words[1:]],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=home,
        env={**os.environ, "PYTHONPATH": f"{home}:{ROOT}"},
    )
    with parent:
        try:
            yield parent
        finally:
            parent.kill()


def wait_for_word(home: Path) -> None:
    log = home / "logs" / "program.log"
    wait_until(lambda: "here" in log.read_text())


@pytest.fixture
def home(tmp_path: Path) -> Path:
    home = tmp_path / "home"
    home.mkdir()
    return home


def test_a_program_runs_as_a_main_module_with_its_own_log(home: Path) -> None:
    (home / "report.py").write_text(REPORT)

    with started(home, "report", "--word", "two words") as parent:
        parent.communicate()

    assert parent.returncode == 7
    lines = (home / "logs" / "program.log").read_text().splitlines()
    assert lines == [
        f"['--word', 'two words'] __main__ {home} True",
        "True ",
    ]


def test_a_program_that_fails_says_why_in_its_log(home: Path) -> None:
    (home / "failing.py").write_text("raise LookupError('no such thing')")

    with started(home, "failing") as parent:
        parent.communicate()

    assert parent.returncode == 1
    assert "LookupError: no such thing" in (home / "logs/program.log").read_text()


def test_a_program_is_known_by_its_command_line(home: Path) -> None:
    (home / "waiting.py").write_text(WAIT)

    with started(home, "waiting", "--port", "8123") as parent:
        assert parent.stdout
        program = psutil.Process(int(parent.stdout.readline()))
        wait_for_word(home)

        words = " ".join(program.cmdline()).split()
        assert words[1:] == ["-m", "waiting", "--port", "8123"]
        program.kill()
        assert parent.wait(timeout=60) == (-9) % 256


def test_a_program_ends_with_a_supervisor_that_is_killed(home: Path) -> None:
    (home / "waiting.py").write_text(WAIT)

    with started(home, "waiting") as parent:
        assert parent.stdout
        pid = int(parent.stdout.readline())
        wait_for_word(home)
        parent.kill()
        parent.wait()

    wait_until(lambda: processes.start_time(pid) is None)


def test_a_program_does_not_hold_the_lock_of_the_home(home: Path) -> None:
    (home / "waiting.py").write_text(WAIT)

    with started(home, "waiting") as parent:
        assert parent.stdout
        program = psutil.Process(int(parent.stdout.readline()))
        wait_for_word(home)

        assert str(home / "lock") not in {file.path for file in program.open_files()}
        parent.kill()
