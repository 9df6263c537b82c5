"""The viewers of runs that a process is about to create, or has created.

Requests add these viewers in threads, before the run is created, so that none of its
events are missed. The event loop passes the events on to the viewers.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from uuid import UUID

from spool.runs.streaming.viewer import Viewer

# How long events are kept for a run whose response has not begun, in seconds.
KEPT_SECS = 60.0


class ExpectedViewers:
    """The expected viewers by their run's id. Any thread may add or forget one."""

    def __init__(self) -> None:
        self._viewers: dict[str, Viewer] = {}

    def __iter__(self) -> Iterator[Viewer]:
        return iter(list(self._viewers.values()))

    def add(self, run_id: UUID) -> Viewer:
        # The thread may not be known yet; `thread_id` is set once the run is created.
        viewer = Viewer(run_id, run_id)
        viewer.has_gap, viewer.expected_at = False, time.monotonic()
        self._viewers[str(run_id)] = viewer
        return viewer

    def find(self, run_id: UUID | str) -> Viewer | None:
        return self._viewers.get(str(run_id))

    def forget(self, run_id: UUID | str) -> None:
        self._viewers.pop(str(run_id), None)

    def forget_abandoned(self) -> None:
        """Forget viewers whose clients left before their responses began."""
        oldest = time.monotonic() - KEPT_SECS
        for run_id, viewer in list(self._viewers.items()):
            if not viewer.has_begun and viewer.expected_at < oldest:
                self.forget(run_id)
