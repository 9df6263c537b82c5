"""The process that forks programs for tests. `tests/forking.py` starts and uses it.

It has imported the libraries, but none of our modules that read settings: a program
imports those itself, with its own environment. Otherwise a program runs as it does with
`python -P -m spool`. There is one thread and no connection, since neither survives a fork.
"""

from __future__ import annotations

import gc
import json
import os
import runpy
import select
import shlex
import signal
import socket
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from typing import Any

from setproctitle import setproctitle

from spool.embedded import processes
from spool.libraries import LIBRARIES

# What tests' programs import, too. None of these needs settings of Django, either.
MORE_LIBRARIES = (
    "aiohttp",
    "cron_descriptor",
    "django.contrib.admin.sites",
    "django.core.management.commands.migrate",
    "django.db.backends.postgresql.base",
    "django.test.client",
    "google.protobuf.json_format",
    "httpcore",
    "jsonschema",
    "jwt",
    "langchain.agents",
    "langchain_core.language_models.fake_chat_models",
    "langgraph.checkpoint.postgres.aio",
    "markdown_it",
    "mcp_types",
    "prometheus_client",
)


@dataclass(frozen=True)
class Start:
    """A program to start. `errors` is the file of its stderr, if not that of its stdout."""

    id: int
    arguments: Sequence[str]
    environment: Mapping[str, str]
    folder: str
    output: str
    errors: str
    death_signal: int
    is_quiet: bool


class Lines:
    """The complete lines that arrive on a socket."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._rest = b""

    def read(self) -> list[bytes] | None:
        """Wait for the next bytes. None if the other end is closed."""
        piece = self._connection.recv(2**16)
        if not piece:
            return None
        *lines, self._rest = (self._rest + piece).split(b"\n")
        return lines


def send(connection: socket.socket, **message: Any) -> None:
    connection.sendall(json.dumps(message).encode() + b"\n")


def main() -> None:
    # The title is written over the environment, which must still be where it was.
    setproctitle(shlex.join(sys.orig_argv))
    for name in LIBRARIES + MORE_LIBRARIES:
        import_module(name)
    gc.collect()
    # A garbage collection in a program would write to all shared pages.
    gc.freeze()
    connection = socket.socket(fileno=int(sys.argv[1]))
    if program := _serve(connection):
        program()


def _serve(connection: socket.socket) -> Callable[[], None] | None:
    """Fork until the tests end. Also returns in each child, with the program to run."""
    wakes, woken = socket.socketpair()
    woken.setblocking(False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(woken.fileno(), warn_on_full_buffer=False)
    numbers: dict[int, int] = {}
    lines = Lines(connection)
    while True:
        ready, _, _ = select.select([connection, wakes], [], [])
        if wakes in ready:
            wakes.recv(4096)
            for pid, status in _ended():
                send(connection, id=numbers.pop(pid), status=status)
        if connection not in ready:
            continue
        if (asked := lines.read()) is None:
            return None
        for start in (Start(**json.loads(line)) for line in asked):
            parent = os.getpid()
            if (pid := os.fork()) == 0:
                _leave(connection, wakes, woken)
                return partial(_become, start, parent)
            numbers[pid] = start.id
            send(connection, id=start.id, pid=pid)


def _ended() -> Iterator[tuple[int, int]]:
    """Each program that has ended, with its exit status."""
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if not pid:
            return
        yield pid, os.waitstatus_to_exitcode(status)


def _leave(*sockets: socket.socket) -> None:
    """Undo in a child what `_serve` has set up."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for one in sockets:
        one.close()


def _become(start: Start, parent: int) -> None:
    """Run the program in this process."""
    os.setsid()
    processes.die_with(parent, start.death_signal)
    for path, descriptors in ((start.output, (1, 2)), (start.errors, (2,))):
        if path:
            file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            for descriptor in descriptors:
                os.dup2(file, descriptor)
            os.close(file)
    os.environ.clear()
    os.environ.update(start.environment)
    os.chdir(start.folder)
    sys.argv = ["spool", *start.arguments]
    setproctitle(shlex.join([sys.executable, "-m", *sys.argv]))
    if start.is_quiet:
        warnings.simplefilter("ignore")
    runpy.run_module("spool", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
