"""Return memory to the system after a burst of large requests, runs or events.

Python frees memory that it no longer needs, but glibc keeps it: in separate arenas of
many threads, and below blocks that are still used. Each connection to Postgres also
keeps buffers for the largest values that it has carried. Without this module, a process
would stay nearly as large as at its peak.
"""

from __future__ import annotations

import ctypes
import gc
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spool.database import buffers, loop
from spool.web.thread_pool import database_threads

# How often the size is checked, and the maximum pause between two trims of a process
# that stays large, in seconds. Memory of a long burst is given back within a minute.
CHECK_SECS, MAX_PAUSE_SECS = 5.0, 40.0
# How long to wait until idle connections are replaced, in seconds.
REPLACE_SECS = 0.5
# Growth by less than this is ignored.
SLACK_BYTES = 32 * 2**20
MAX_ARENAS = 2
# When garbage is collected: among new objects after 5000 instead of 700, among older ones
# after as many new objects as by default. Each collection of new objects visits those of
# all runs that are being executed.
GC_THRESHOLDS = (5000, 2, 7)
_M_ARENA_MAX = -8
_STATM = Path("/proc/self/statm")


def bound() -> None:
    """Let threads share arenas, and trim memory. Call before other threads start."""
    mallopt, trim = _function("mallopt"), _function("malloc_trim")
    if not (mallopt and trim and _STATM.exists()):
        return  # Another C library, which returns memory in its own ways.
    mallopt(_M_ARENA_MAX, MAX_ARENAS)
    trimmer = Trimmer(resident_bytes, lambda: give_back(trim))
    threading.Thread(target=trimmer.run, name="memory", daemon=True).start()


def collect_less() -> None:
    """Look for garbage among new objects less often, and among older ones as before."""
    gc.set_threshold(*GC_THRESHOLDS)


def resident_bytes() -> int:
    return int(_STATM.read_bytes().split()[1]) * os.sysconf("SC_PAGESIZE")


def give_back(trim: Callable[[int], Any]) -> None:
    buffers.replace_connections()
    loop.replace_connections()
    database_threads.replace_connections()
    time.sleep(REPLACE_SECS)
    # Requests and views refer to each other, and keep their bodies until a collection.
    gc.collect()
    trim(0)


@dataclass
class Trimmer:
    """Decides when to give back memory. `size` returns that of the process, in bytes.

    A process that is larger than at its start may use the memory or have freed it. Only
    trimming shows which: it is done at once if the process has grown, and then at
    growing intervals, up to a limit.
    """

    size: Callable[[], int]
    trim: Callable[[], None]

    def __post_init__(self) -> None:
        self._low = self._last = self.size()
        # The time between two trims, and until the next one, in seconds.
        self._pause = self._left = CHECK_SECS

    def run(self) -> None:
        while True:
            time.sleep(CHECK_SECS)
            self.check()

    def check(self) -> None:
        """Trim if it is due. Called every `CHECK_SECS`."""
        size = self.size()
        if size - self._last >= SLACK_BYTES:
            self._pause = self._left = CHECK_SECS
        self._left -= CHECK_SECS
        if size - self._low < SLACK_BYTES or self._left > 0:
            return
        self.trim()
        self._last = self.size()
        self._low = min(self._low, self._last)
        is_useful = size - self._last >= SLACK_BYTES
        self._pause = CHECK_SECS if is_useful else min(2 * self._pause, MAX_PAUSE_SECS)
        self._left = self._pause


def _function(name: str) -> Callable[..., Any] | None:
    """A function of glibc; None with other C libraries."""
    return getattr(ctypes.CDLL(None), name, None)
