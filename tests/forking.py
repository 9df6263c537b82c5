"""Fork Spool's programs for tests, which takes less CPU than a user's start.

A new interpreter imports libraries for two seconds, and the suite starts hundreds. These
programs are forked from a process that has imported them (`tests/fork_server.py`), as
`spool serve` itself forks web, worker and beat.

The start itself is tested with real starts, see `live.UsersServer`.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import asdict

from spool.tests import fork_server
from spool.tests.fork_server import Lines, Start, send

# Variables that Python and libraries read when they are imported. (Variables of `env`
# in a langgraph.json would be set too late.)
READ_AT_IMPORT = ("LANGCHAIN_", "LANGGRAPH_DEFAULT_", "LANGSMITH_", "OTEL_", "PYTHON")


class Program:
    """A forked program, with the methods of `subprocess.Popen` that are used here."""

    def __init__(self, server: ForkServer, number: int, pid: int) -> None:
        self.pid = pid
        self._server = server
        self._number = number

    def poll(self) -> int | None:
        return self._server.status(self._number)

    def wait(self, timeout: float) -> int:
        deadline = time.monotonic() + timeout
        while (status := self.poll()) is None:
            if time.monotonic() > deadline:
                raise subprocess.TimeoutExpired(str(self.pid), timeout)
            time.sleep(0.01)
        return status

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


class ForkServer:
    """The process that forks. It ends with the tests, and the programs end with it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._environment = dict(os.environ)
        self._count = 0
        self._pids: dict[int, int] = {}
        self._statuses: dict[int, int] = {}
        self._socket, theirs = socket.socketpair()
        self._lines = Lines(self._socket)
        command = [sys.executable, "-P", "-m", fork_server.__name__]
        with theirs:
            self._process = subprocess.Popen(
                [*command, str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                # Ctrl-C must only reach the tests, which then end this process.
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    def can_start(self, environment: Mapping[str, str]) -> bool:
        """Whether the libraries were imported with an equivalent environment."""
        given, ours = (
            {name: v for name, v in one.items() if name.startswith(READ_AT_IMPORT)}
            for one in (environment, self._environment)
        )
        return given == ours

    def start(
        self,
        *arguments: str,
        environment: Mapping[str, str],
        folder: os.PathLike[str],
        output: os.PathLike[str],
        errors: os.PathLike[str] | None,
        death_signal: int,
        is_quiet: bool,
    ) -> Program:
        """Run `spool` with these arguments."""
        with self._lock:
            self._count += 1
            start = Start(
                self._count,
                arguments,
                dict(environment),
                folder=os.fspath(folder),
                output=os.fspath(output),
                errors=os.fspath(errors) if errors else "",
                death_signal=death_signal,
                is_quiet=is_quiet,
            )
            send(self._socket, **asdict(start))
            while start.id not in self._pids:
                self._receive()
            return Program(self, start.id, self._pids[start.id])

    def status(self, number: int) -> int | None:
        """The exit status of a program; None while it runs."""
        with self._lock:
            while select.select([self._socket], [], [], 0)[0]:
                self._receive()
            return self._statuses.get(number)

    def _receive(self) -> None:
        lines = self._lines.read()
        if lines is None:
            raise RuntimeError("the process that forks programs has ended")
        for message in map(json.loads, lines):
            if "pid" in message:
                self._pids[message["id"]] = message["pid"]
            else:
                self._statuses[message["id"]] = message["status"]

    def close(self) -> None:
        self._socket.close()
        self._process.wait()
