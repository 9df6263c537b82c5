"""The slots of a worker: how many runs it executes at once.

A run that waits for another run (`get_client().runs.wait`) lends its slot meanwhile:
otherwise, if all runs of a worker waited, the others would never start.
"""

from __future__ import annotations

import threading
from collections import Counter, deque
from uuid import UUID

from django.conf import settings

from spool.web.inside import TooManyWaiting


class Slots:
    """The slots. Used by threads that execute runs, and by event loops of graphs."""

    def __init__(self, number: int) -> None:
        self._free = number
        # Runs that were refused since no slot was free; at most as many as slots exist.
        self._missed: deque[UUID] = deque(maxlen=number)
        # For each waiting run, how many of its requests wait for other runs.
        self._waiting: Counter[UUID] = Counter()
        self._lock = threading.Lock()

    def take(self, run_id: UUID) -> bool:
        """Take a slot for a run. False if none is free; see `free`."""
        with self._lock:
            if self._free <= 0:
                self._missed.append(run_id)
                return False
            self._free -= 1
            return True

    def free(self) -> UUID | None:
        """Free a slot, or keep it and return a run that was refused before.

        The claim that found no run for this slot may have begun before that run was
        created.
        """
        with self._lock:
            if self._missed and self._free >= 0:
                return self._missed.popleft()
            self._free += 1
            return None

    def lend(self, run_id: UUID) -> bool:
        """Free the slot of a run that begins to wait. False if it is waiting already.

        Raises `TooManyWaiting` at a limit, since a graph may call itself endlessly.
        """
        most = settings.MAX_WAITING_RUNS
        with self._lock:
            is_first = run_id not in self._waiting
            if is_first and len(self._waiting) >= most:
                raise TooManyWaiting(
                    f"{most} runs of this worker already wait for other runs "
                    "(SPOOL_MAX_WAITING_RUNS)"
                )
            self._waiting[run_id] += 1
            if is_first:
                self._free += 1
            return is_first

    def reclaim(self, run_id: UUID) -> None:
        """End one wait of a run. After its last wait, the run has a slot again.

        If its slot is in use, more slots are in use than exist (`_free` is negative)
        until a run ends.
        """
        with self._lock:
            self._waiting[run_id] -= 1
            if not self._waiting[run_id]:
                del self._waiting[run_id]
                self._free -= 1
