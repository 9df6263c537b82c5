"""A whole server with all its processes, in a new home.

For tests that need a real server, and for the benchmark.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from spool.tests import commands, template
from spool.tests.commands import run_program, start_program

ROOT = commands.ROOT
START_SECS = 180
# How long tests wait for something to happen: far longer than it takes, since the
# machine may be busy. Only tests that fail wait for so long.
WAIT_SECS = 60
# Variables that would make the server use another Postgres or Redis.
OURS = ("DATABASE_URL", "DATABASE_URI", "REDIS_URL", "REDIS_URI", "SPOOL_HOME")


class Server:
    """`spool serve` with a fresh home, on a free port."""

    # Whether to fork it, if the tests can, and to give it tables that are migrated.
    is_forked = True

    def __init__(
        self,
        config: Path,
        workers: int = 1,
        folder: Path = ROOT,
        home: Path | None = None,
        **environment: str,
    ) -> None:
        """`folder` is where it is started; `home` may be that of an earlier server."""
        # The name is short, since the paths of Unix sockets in it are limited.
        self.home = home or Path(tempfile.mkdtemp(prefix="spool-", dir="/tmp"))
        self.config = config
        self.folder = folder
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._workers = workers
        inherited = {key: v for key, v in os.environ.items() if key not in OURS}
        self._given = inherited | environment | {"SPOOL_HOME": str(self.home)}

    def start(self) -> None:
        is_new = not (self.home / "postgres").exists()
        if is_new and self.is_forked and commands.fork_server:
            template.copy_tables(self.home)
        output = self.home / "output"
        output.write_bytes(b"")
        self._process = start_program(
            *("serve", "--config", str(self.config), "--port", str(self.port)),
            *("--workers", str(self._workers)),
            environment=self._given,
            output=output,
            folder=self.folder,
            # The server must not outlive tests that are killed.
            death_signal=signal.SIGTERM,
            # Another folder may have a user's own modules.
            forks=self.is_forked and self.folder == ROOT,
        )
        self.wait_until_ready()

    def wait_until_ready(self) -> None:
        wait_until(lambda: self._stopped() or self._is_ready(), START_SECS)
        if self._stopped():
            raise RuntimeError(f"the server did not start:\n{self.output()}")

    def stop(self, *, keep_home: bool = False) -> None:
        if not self._stopped():
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(timeout=WAIT_SECS)
            except subprocess.TimeoutExpired:
                for process in self.processes():
                    process.kill()
                raise
        if not keep_home:
            shutil.rmtree(self.home)

    def kill(self) -> None:
        """Kill the supervisor with SIGKILL."""
        self._process.kill()
        self._process.wait(timeout=WAIT_SECS)

    def wait(self) -> int:
        """Wait for the supervisor to end. Return its exit status."""
        return self._process.wait(timeout=WAIT_SECS)

    def output(self) -> str:
        return (self.home / "output").read_text(errors="replace")

    def processes(self) -> list[psutil.Process]:
        """The supervisor, and all its descendants."""
        supervisor = psutil.Process(self._process.pid)
        return [supervisor, *supervisor.children(recursive=True)]

    def process(self, *words: str) -> psutil.Process:
        """The only process with all these words in its command line."""
        found = [p for p in self.processes() if set(words) <= set(_words(p))]
        if len(found) != 1:
            raise LookupError(f"{len(found)} processes have {words}")
        return found[0]

    def servers(self, name: str) -> list[psutil.Process]:
        """The processes of Postgres or of Valkey."""
        children = psutil.Process(self._process.pid).children()
        return [child for child in children if name in "".join(_words(child)[:1])]

    def web(self) -> psutil.Process:
        return self.process("spool", "web")

    def worker(self) -> psutil.Process:
        return self.process("--name")

    def beat(self) -> psutil.Process:
        return self.process("beat")

    def environment(self) -> dict[str, str]:
        """The environment of the server's processes, for another process."""
        urls: dict[str, str] = json.loads((self.home / "urls.json").read_text())
        config = {"LANGGRAPH_CONFIG": str(self.config), "PORT": str(self.port)}
        return self._given | config | urls

    def _stopped(self) -> bool:
        return self._process.poll() is not None

    def _is_ready(self) -> bool:
        # Check the supervisor's message, and a request: a process may have crashed.
        return "Spool is ready" in self.output() and self._answers()

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/ok?check_db=1", timeout=10) as ok:  # noqa: S310
                return bool(ok.status == 200)
        except (urllib.error.URLError, OSError):
            return False


class UsersServer(Server):
    """A server that tests start as users do, without a fork."""

    is_forked = False


@contextmanager
def running(server: Server) -> Iterator[Server]:
    """Start a server, and stop it after the block."""
    server.start()
    try:
        yield server
    finally:
        server.stop()


@contextmanager
def serving(config: Path, workers: int = 1, **environment: str) -> Iterator[Server]:
    with running(Server(config, workers, ROOT, None, **environment)) as server:
        yield server


class Worker:
    """A worker process in addition to those of the server."""

    def __init__(self, server: Server, name: str, **environment: str) -> None:
        self.log = server.home / "logs" / f"{name}.log"
        self.process = start_program(
            *("worker", "-n", name),
            environment=server.environment() | environment,
            output=self.log,
            is_quiet=True,
        )
        self.pid = self.process.pid

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(timeout=WAIT_SECS)

    def cpu_times(self) -> tuple[float, float]:
        times = psutil.Process(self.pid).cpu_times()
        return times.user, times.system


def new_key(server: Server, *arguments: str) -> str:
    # Like a script: the whole output is the key.
    return manage(server, "create_api_key", *arguments)


def manage(server: Server, *arguments: str) -> str:
    """Run a command of `manage.py`. Return its output."""
    command = run_program("manage", *arguments, environment=server.environment())
    command.check_returncode()
    return command.stdout.removesuffix("\n")


def wait_until(
    condition: Callable[[], object], seconds: float = WAIT_SECS, pause: float = 0.05
) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"it did not happen within {seconds} s")
        time.sleep(pause)


def _words(process: psutil.Process) -> list[str]:
    try:
        return " ".join(process.cmdline()).split()
    except psutil.Error:
        return []


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port
