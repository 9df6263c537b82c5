"""Lets workers notify the supervisor that they stop, so that successors start at once.

Otherwise new runs would wait while a stopping worker finishes its runs.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from math import inf

from spool.embedded.processes import Process


@dataclass
class Old:
    """A process that is stopping after its successor has taken its place."""

    process: Process
    deadline: float = inf

    def is_over(self) -> bool:
        """Whether the process has ended. After its deadline it is killed."""
        if self.process.poll() is not None:
            return True
        if time.monotonic() > self.deadline:
            self.process.kill()
        return False


@dataclass
class Notices:
    """Pipes on which processes write when they begin to stop, by process id."""

    _pipes: dict[int, int] = field(default_factory=dict)

    def start(self, start: Callable[..., Process]) -> Process:
        """Start a process with the writing end of a pipe as additional arguments."""
        ours, theirs = os.pipe()
        os.set_blocking(ours, False)
        try:
            process = start("--stopping-fd", str(theirs))
        finally:
            os.close(theirs)
        self._pipes[process.pid] = ours
        return process

    def has(self, process: Process) -> bool:
        """Whether the process has begun to stop. True only once."""
        pipe = self._pipes.get(process.pid)
        if pipe is None:
            return False
        try:
            said = os.read(pipe, 1)
        except BlockingIOError:
            return False
        os.close(self._pipes.pop(process.pid))
        return bool(said)  # Empty if the process has ended without a notice.
