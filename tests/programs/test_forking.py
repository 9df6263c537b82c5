"""The process that forks programs for tests."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import psutil

from spool.tests import commands
from spool.tests.commands import ROOT, start_program
from spool.tests.live import WAIT_SECS, wait_until

ABOUT = """
import json, os, signal, sys
print(json.dumps({
    "arguments": sys.argv,
    "path": sys.path,
    "folder": os.getcwd(),
    "environment": dict(os.environ),
    "leads its session": os.getsid(0) == os.getpid(),
    "handlers": [str(signal.getsignal(n)).split(" at ")[0] for n in range(1, 32)],
    "open files": sorted(os.listdir("/proc/self/fd")),
}))
"""
# A test for another pytest, which starts a program that runs until it is killed.
TESTS = """
import os, sys
from pathlib import Path
from spool.tests import commands
from spool.tests.forking import ForkServer

commands.fork_server = ForkServer()
program = commands.start_program(
    "manage", "shell", "-c", "import time; print('runs', flush=True); time.sleep(600)",
    environment=os.environ,
    output=Path(sys.argv[1]),
)
print(commands.fork_server.pid, program.pid, flush=True)
program.wait(600)
"""


def test_a_forked_program_is_like_one_that_is_started(tmp_path: Path) -> None:
    said = []
    for forks in (True, False):
        output = tmp_path / str(forks)
        program = start_program(
            *("manage", "shell", "-v0", "-c", ABOUT),
            environment={**os.environ, "SPOOL_REVISION": "v7"},
            output=output,
            forks=forks,
        )
        assert program.wait(WAIT_SECS) == 0
        said.append(json.loads(output.read_text()))

    assert said[0] == said[1]
    assert said[0]["environment"]["SPOOL_REVISION"] == "v7"


def test_a_fork_takes_no_thread_and_no_connection_along() -> None:
    assert commands.fork_server
    done = commands.run_program("--help", environment=os.environ)

    forking = psutil.Process(commands.fork_server.pid)

    assert done.returncode == 0
    assert forking.num_threads() == 1
    assert forking.net_connections("inet") == []
    assert forking.open_files() == []


def test_programs_end_with_tests_that_are_killed(tmp_path: Path) -> None:
    output = tmp_path / "output"
    output.touch()
    tests = subprocess.Popen(
        [sys.executable, "-P", "-W", "ignore", "-c", TESTS, str(output)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert tests.stdout
        pids = [int(pid) for pid in tests.stdout.readline().split()]
        wait_until(lambda: "runs" in output.read_text())
    finally:
        tests.kill()
        tests.communicate()

    assert len(pids) == 2
    wait_until(lambda: not any(map(psutil.pid_exists, pids)))
