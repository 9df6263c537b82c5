"""A cache of authenticated callers, so that not every request checks credentials."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass

from spool.access.callers import Caller


@dataclass(frozen=True)
class _Known:
    caller: Caller
    until: float


class Remembered:
    """Callers by a digest of their credentials; thread-safe."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._known: dict[str, _Known] = {}
        self._lock = threading.Lock()

    def get(self, digest: str) -> Caller | None:
        known = self._known.get(digest)
        if known is None or known.until < time.monotonic():
            return None
        return known.caller

    def put(self, digest: str, caller: Caller, seconds: float) -> None:
        with self._lock:
            if len(self._known) >= self._most:
                self._known.clear()
            self._known[digest] = _Known(caller, time.monotonic() + seconds)

    def forget(self) -> None:
        with self._lock:
            self._known.clear()
