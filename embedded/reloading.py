"""The supervisor of `spool dev`: starts new processes when a user's file changes.

New web and worker processes are started beside the old ones. When all new processes
have imported the code, the old ones finish their work and stop; if a new one fails to
start, the old ones continue. The web processes share one listening socket, so that no
connection is refused meanwhile.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from spool.embedded import processes
from spool.embedded.draining import Old
from spool.embedded.processes import Process
from spool.embedded.supervisor import Child, Supervisor

# How often files are checked, and how long an editor may take to save several files, in
# seconds.
WATCH_INTERVAL = 0.5
# How long streams of an old web process may continue, in seconds.
DRAIN_SECS = 60
BACKLOG = 2048


@dataclass
class New:
    """A process that will replace a child's current one."""

    child: Child
    process: Process
    pipe: int
    is_ready: bool = False

    def look(self) -> None:
        with suppress(BlockingIOError):
            self.is_ready = self.is_ready or os.read(self.pipe, 16) == b"ready"

    @property
    def has_ended(self) -> bool:
        return self.process.poll() is not None


@dataclass
class Reload:
    begun: float
    new: list[New] = field(default_factory=list)


class ReloadingSupervisor(Supervisor):
    def _check_port(self) -> None:
        """Listen in this process: the web processes share its socket."""
        super()._check_port()
        host, port = self.options.host, self.options.port
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._socket = socket.create_server(
            (host, port), family=family, backlog=BACKLOG
        )
        self.parts.web.extend(
            ["--fd", str(self._socket.fileno()), "--grace", str(DRAIN_SECS)]
        )
        self._reload: Reload | None = None

    def _watch(self) -> None:
        seen = snapshot(self.parts.watched())
        while not self._stopping:
            for child in self.children:
                self._look_after(child)
            self._old = [old for old in self._old if not old.is_over()]
            if self._reload:
                self._go_on_with(self._reload)
            else:
                seen = self._begin_if_changed(seen)
            time.sleep(WATCH_INTERVAL)

    def _begin_if_changed(self, seen: dict[Path, int]) -> dict[Path, int]:
        found = snapshot(self.parts.watched())
        if found == seen:
            return seen
        # Wait for an editor that saves several files.
        time.sleep(WATCH_INTERVAL)
        if snapshot(self.parts.watched()) != found:
            return seen
        changed = {path for path, _ in seen.items() ^ found.items()}
        names = ", ".join(sorted(path.name for path in changed)[:3])
        print(f"Changed: {names}. Starting new processes", flush=True)
        self._reload = Reload(time.monotonic())
        for child in self.programs:
            if child.name != "beat":  # Beat imports no user code.
                self._reload.new.append(_start_beside(child))
        return found

    def _go_on_with(self, reload: Reload) -> None:
        for new in reload.new:
            new.look()
            if new.has_ended:
                self._give_up(reload, new)
                return
        if all(new.is_ready for new in reload.new):
            self._replace(reload)

    def _give_up(self, reload: Reload, failed: New) -> None:
        why = self._why_ended(failed.child, failed.process.returncode)
        print(f"{why}\nThe old code stays in use.", flush=True)
        self._reload = None
        for new in reload.new:
            os.close(new.pipe)
            processes.stop(new.process, new.child.stop_signal, new.child.timeout)

    def _replace(self, reload: Reload) -> None:
        now = time.monotonic()
        for new in reload.new:
            os.close(new.pipe)
            child, old = new.child, new.child.process
            child.process = new.process
            if old and old.poll() is None:
                old.send_signal(child.stop_signal)
                wait = DRAIN_SECS if child.name == "web" else child.timeout
                self._old.append(Old(old, now + wait))
        self._remember()
        self._reload = None
        print(f"The new code is in use after {now - reload.begun:.1f} s", flush=True)

    def _stop(self) -> None:
        new = self._reload.new if self._reload else []
        for process in [n.process for n in new] + [old.process for old in self._old]:
            process.kill()
            process.wait()
        super()._stop()


def _start_beside(child: Child) -> New:
    ours, theirs = os.pipe()
    os.set_blocking(ours, False)
    try:
        process = child.start("--ready-fd", str(theirs))
    finally:
        os.close(theirs)
    return New(child, process, ours)


def snapshot(files: Iterable[Path]) -> dict[Path, int]:
    """The modification time of each file that still exists."""
    found = {}
    for path in files:
        try:
            found[path] = path.stat().st_mtime_ns
        except OSError:
            continue
    return found
