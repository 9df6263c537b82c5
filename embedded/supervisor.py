"""`spool serve`: Postgres and Valkey unless configured, then web, worker and beat.

Everything runs in the foreground and ends together. Django is imported only after the
servers are started, since settings contain their URLs. The modules that the programs
share are imported once, in this process, from which the programs are forked
(docs/adr/0006).
"""

from __future__ import annotations

import json
import os
import signal
import socket
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.client import HTTPException
from pathlib import Path
from tempfile import TemporaryFile
from types import FrameType
from typing import IO
from urllib.error import HTTPError
from urllib.request import ProxyHandler, build_opener

from spool.embedded import processes, programs
from spool.embedded.console import as_lines, message_of, say
from spool.embedded.draining import Notices, Old
from spool.embedded.home import Home
from spool.embedded.postgres import Postgres
from spool.embedded.processes import CannotStart, Mark, Process
from spool.embedded.valkey import Valkey

DATABASE_VARIABLES = (
    "DATABASE_URL",
    "DATABASE_URI",
    "POSTGRES_URI",
    "POSTGRES_URI_CUSTOM",
)
REDIS_VARIABLES = ("REDIS_URL", "REDIS_URI", "REDIS_URI_CUSTOM")

# Timeouts and intervals of children, in seconds.
READY_TIMEOUT_SECS = 600.0
READY_INTERVAL = 0.05
WATCH_INTERVAL = 0.2
WEB_STOP_TIMEOUT_SECS = 5.0
SERVER_STOP_TIMEOUT_SECS = 10.0
# The setting for how long a stopping worker may continue its runs, and its default. A
# worker gets `GRACE_SECS` more to hand back the rest. If it is killed before that, its
# runs count as lost.
GRACE = "BG_JOB_SHUTDOWN_GRACE_PERIOD_SECS"
GRACE_SECS = 5
# A child that has been restarted this often within a minute is not restarted again.
MAX_RESTARTS = 5


@dataclass(frozen=True)
class Options:
    config: Path
    host: str
    port: int
    workers: int
    home: Path


@dataclass(frozen=True)
class Programs:
    """The programs to start, each like `python -m module arguments`."""

    module: str
    prepare: list[str]
    web: list[str]
    worker: list[str]
    beat: list[str]
    # Imports the shared modules. Called when settings can be read.
    preload: Callable[[], object]
    # For reloading: the user's files, and a function that clears cached values of the
    # supervisor in a new process.
    watched: Callable[[], Iterable[Path]] = tuple
    forget: Callable[[], object] | None = None


@dataclass
class Child:
    """A program that is restarted when it ends."""

    name: str
    # Called with additional arguments.
    start: Callable[..., Process]
    stop_signal: int
    timeout: float
    death_signal: int
    process: Process | None = None
    restarts: list[float] = field(default_factory=list)
    start_at: float = 0.0
    # The size of its log before it was started.
    log_start: int = 0

    def run(self) -> Process:
        self.process = self.start()
        return self.process

    @property
    def mark(self) -> Mark | None:
        if self.process is None:
            return None
        started = processes.start_time(self.process.pid)
        if started is None:
            return None
        return Mark(self.name, self.process.pid, started, self.death_signal)


class Supervisor:
    def __init__(self, options: Options, parts: Programs) -> None:
        self.options = options
        self.parts = parts
        self.home = Home(options.home)
        self.children: list[Child] = []
        self._stopping = False
        self._password = ""
        self._notices = Notices()
        self._old: list[Old] = []

    def serve(self) -> int:
        """Run until a signal to stop is received. Returns the exit status."""
        for number in processes.OUR_SIGNALS:
            is_ignored = signal.getsignal(number) == signal.SIG_IGN
            # `nohup` ignores SIGHUP. (Shells ignore SIGINT for `&` too.)
            if not (is_ignored and number == signal.SIGHUP):
                signal.signal(number, self._asked_to_stop)
        try:
            self._check_port()
            self.home.clear_leftovers()
            self._start_servers()
            programs.load(self.parts.preload)
            self._prepare()
            self._start_programs()
            self._wait_ready()
            self._announce()
            self._watch()
        except Stopped:
            pass
        finally:
            self._stop()
            self._print_password()
        return 0

    # --- Starting -------------------------------------------------------------------
    def _check_port(self) -> None:
        host, port = self.options.host, self.options.port
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError as exc:
                raise CannotStart(
                    f"cannot listen on {host}:{port}: {exc.strerror}; choose another "
                    "with --port (or PORT)"
                ) from None

    def _start_servers(self) -> None:
        """Start servers that are not configured; `prepare` checks configured ones."""
        database, broker = given(DATABASE_VARIABLES), given(REDIS_VARIABLES)
        if not database:
            database = self._start_server(Postgres(self.home.path))
        if not broker:
            broker = self._start_server(Valkey(self.home.path))
        urls = {"DATABASE_URL": database, "REDIS_URL": broker}
        self.home.publish_urls(urls)
        os.environ |= urls | {
            "SPOOL_HOME": str(self.home.path),
            "LANGGRAPH_CONFIG": str(self.options.config),
            "HOST": self.options.host,
            "PORT": str(self.options.port),
            GRACE: os.environ.get(GRACE, "").strip() or str(GRACE_SECS),
        }

    def _start_server(self, server: Postgres | Valkey) -> str:
        child = Child(
            server.name,
            lambda: server.start(self.home.log(server.name)),
            server.stop_signal,
            SERVER_STOP_TIMEOUT_SECS,
            server.stop_signal,
        )
        self.children.append(child)
        process = child.run()
        self._remember()
        with self._log_named(server.name):
            server.wait_ready(process)
        return server.url

    def _prepare(self) -> None:
        """Migrate, check, register, and keep the admin's password if it is new."""
        with TemporaryFile() as said, TemporaryFile() as complained:
            process = programs.start(
                self.parts.module,
                self.parts.prepare,
                output=said,
                errors=complained,
                # Must not continue to migrate without its supervisor.
                death_signal=signal.SIGKILL,
            )
            try:
                process.wait()
            finally:  # Also after a signal to stop.
                process.kill()
            out, err = _text(said), _text(complained)
        out, _, rest = out.partition(PASSWORD_PREFIX)
        self._password = rest.partition("\n")[0]
        with self.home.log("prepare") as log:  # Without the password.
            for text in filter(None, map(str.strip, (out, err))):
                log.write(f"{as_lines(text)}\n".encode())
        if process.returncode != 0:
            log_path = self.home.logs / "prepare.log"
            raise CannotStart(reason(err) or f"prepare failed, see {log_path}")
        show_warnings(err)

    def _start_programs(self) -> None:
        parts = self.parts
        self._start_program("web", parts.web, WEB_STOP_TIMEOUT_SECS)
        for number in range(self.options.workers):
            name = "worker" if number == 0 else f"worker-{number + 1}"
            arguments = [*parts.worker, "--name", name]
            self._start_program(name, arguments, worker_stop_timeout())
        self._start_program("beat", parts.beat, WEB_STOP_TIMEOUT_SECS)

    def _start_program(self, name: str, arguments: list[str], timeout: float) -> None:
        def start(*more: str) -> Process:
            if name.startswith("worker"):
                return self._notices.start(partial(fork, *more))
            return fork(*more)

        def fork(*more: str) -> Process:
            with self.home.log(name) as log:
                child.log_start = log.tell()
                return programs.start(
                    self.parts.module,
                    [*arguments, *more],
                    output=log,
                    # On other signals a worker would first finish its runs, even though
                    # its database is gone.
                    death_signal=signal.SIGKILL,
                    before=self.parts.forget,
                )

        child = Child(name, start, signal.SIGTERM, timeout, signal.SIGKILL)
        self.children.append(child)
        child.run()
        self._remember()

    @property
    def programs(self) -> list[Child]:
        return [c for c in self.children if c.name not in ("postgres", "valkey")]

    def _wait_ready(self) -> None:
        """Wait until runs can be executed. Importing the graphs may take a while."""
        deadline = time.monotonic() + READY_TIMEOUT_SECS
        while not self._serves():
            for child in self.programs:
                if child.process and child.process.poll() is not None:
                    raise CannotStart(self._why_ended(child, child.process.returncode))
            if time.monotonic() > deadline:
                log = self.home.logs / "web.log"
                raise CannotStart(
                    f"web was not ready within {READY_TIMEOUT_SECS:.0f} seconds; "
                    f"see {log}"
                )
            time.sleep(READY_INTERVAL)
        for child in self.programs:
            if child.name == "web":
                show_warnings(self._log_of(child))

    def _log_of(self, child: Child) -> str:
        """The log of a child since it was started."""
        log = (self.home.logs / f"{child.name}.log").read_bytes()
        return log[child.log_start :].decode(errors="replace")

    def _why_ended(self, child: Child, status: int | None) -> str:
        """The child's own error message, or the path of its log."""
        lines = [message_of(line) for line in self._log_of(child).splitlines()]
        ours = [line for line in lines if line.startswith(REASON_PREFIX)]
        if ours:
            return ours[-1].removeprefix(REASON_PREFIX)
        log = self.home.logs / f"{child.name}.log"
        return f"{child.name} exited with status {status}; see {log}"

    @contextmanager
    def _log_named(self, name: str) -> Iterator[None]:
        """Add the path of the log to the error of a child that did not start."""
        try:
            yield
        except CannotStart as exc:
            log = self.home.logs / f"{name}.log"
            raise CannotStart(f"{exc}; see {log}") from None

    def _serves(self) -> bool:
        """Whether the API answers and a worker has sent a heartbeat."""
        if self._stopping:
            raise Stopped
        try:
            answer = self._get("/metrics?format=json")
        except HTTPError as exc:
            # langgraph.json moves or disables the route, or ALLOWED_HOSTS refuses the
            # request: the server is up.
            return exc.code < 500
        except (OSError, HTTPException):
            return False
        return not self._has_places or reports_workers(answer)

    @property
    def _has_places(self) -> bool:
        """Whether there are workers with slots for runs."""
        # `prepare` has checked that it is a number or empty.
        jobs = os.environ.get("N_JOBS_PER_WORKER", "").strip()
        return self.options.workers > 0 and int(jobs or 1) > 0

    def _get(self, path: str) -> bytes:
        # The standard library's client, to keep this process small. No proxy is used.
        request = build_opener(ProxyHandler({})).open(self.url + path, timeout=5)
        with request as answer:
            return bytes(answer.read())

    @property
    def url(self) -> str:
        host = self.options.host
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104
        host = f"[{host}]" if ":" in host else host
        return f"http://{host}:{self.options.port}"

    def _announce(self) -> None:
        password, self._password = self._password, ""
        say(f"Spool is ready at {self.url}")
        say(f"  API docs  {self.url}/docs")
        shown = f"  (user admin, password {password})" if password else ""
        say(f"  Admin     {self.url}/admin/{shown}")
        say(f"  Logs      {self.home.logs}")

    def _print_password(self) -> None:
        """Print the password after a failed start, since it can't be shown later."""
        if self._password:
            say(f"The admin is ready (user admin, password {self._password})")

    # --- Running --------------------------------------------------------------------
    def _watch(self) -> None:
        while not self._stopping:
            for child in self.children:
                self._look_after(child)
            self._old = [old for old in self._old if not old.is_over()]
            time.sleep(WATCH_INTERVAL)

    def _look_after(self, child: Child) -> None:
        now = time.monotonic()
        if child.process and child.process.poll() is not None:
            code = child.process.returncode
            self._count_restart(child, f"keeps exiting (status {code})")
            say(f"{child.name} exited with status {code}; restarting it")
            # The first restart is immediate, later ones have growing delays.
            child.start_at = now + 0.5 * (len(child.restarts) - 1)
        elif child.process and self._notices.has(child.process):
            self._old.append(Old(child.process))
            self._count_restart(child, "keeps stopping")
            say(f"{child.name} is stopping; starting its successor")
            child.start_at = now
        if child.process is None and now >= child.start_at:
            child.run()
            self._remember()

    def _count_restart(self, child: Child, problem: str) -> None:
        now = time.monotonic()
        child.restarts = [t for t in child.restarts if t > now - 60] + [now]
        if len(child.restarts) > MAX_RESTARTS:
            log = self.home.logs / f"{child.name}.log"
            raise CannotStart(f"{child.name} {problem}: see {log}")
        child.process = None

    def _remember(self) -> None:
        # A child may end at any time, so read each mark only once.
        marks = [child.mark for child in self.children]
        try:
            self.home.remember(filter(None, marks))
        except OSError as exc:
            # Only a start after a crash reads the list, so continue without it.
            say(f"cannot write the list of processes: {exc}", level="WARNING")

    # --- Stopping -------------------------------------------------------------------
    def _asked_to_stop(self, number: int, frame: FrameType | None) -> None:
        if self._stopping:
            return
        self._stopping = True
        raise Stopped

    def _stop(self) -> None:
        """Stop all programs at once, then the servers that they need."""
        self._stopping = True
        for child in self.programs:
            if child.process and child.process.poll() is None:
                child.process.send_signal(child.stop_signal)
        for old in self._old:  # Workers that were already stopping.
            processes.stop(old.process, signal.SIGTERM, worker_stop_timeout())
        for child in [*self.programs, *reversed(self.children)]:
            if child.process:
                processes.stop(child.process, child.stop_signal, child.timeout)
        self.home.withdraw_urls()
        self.home.remember([])


PASSWORD_PREFIX = "admin password: "  # noqa: S105 - what stands before it
REASON_PREFIX = "spool: "


class Stopped(Exception):
    """A signal to stop was received."""


def worker_stop_timeout() -> int:
    """How long a worker may take to stop, in seconds."""
    return int(os.environ[GRACE]) + GRACE_SECS


def _text(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode(errors="replace")


def reason(errors: str) -> str:
    """Why `prepare` failed: its error message, or the last line of a traceback."""
    lines = [message_of(line) for line in errors.splitlines() if line.strip()]
    ours = [line for line in lines if line.startswith(REASON_PREFIX)]
    return (ours or lines or [""])[-1].removeprefix(REASON_PREFIX)


def show_warnings(log: str) -> None:
    """Print the warnings in a log to stderr, so that users see them."""
    for line in log.splitlines():
        if "WARNING" in line:
            say(line, level="WARNING")


def reports_workers(answer: bytes) -> bool:
    """Whether Spool's metrics report a live worker. True for any other response.

    An operator's app (`http.app`) may have a route of the same name.
    """
    try:
        return bool(json.loads(answer)["workers"]["max"])
    except (ValueError, LookupError, TypeError):
        return True


def given(variables: tuple[str, ...]) -> str:
    values = (os.environ.get(name, "").strip() for name in variables)
    return next(filter(None, values), "")
