"""One viewer of a thread or run: its queued events, and whether it must read more."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from uuid import UUID

from spool.runs.streaming.events import Event
from spool.runs.streaming.light_event import LightEvent

# How many bytes are queued for a slow viewer. It reads later events from the stream.
MAX_WAITING = 2**20
# How many failed reads from Redis a viewer of an ended run allows.
MAX_FAILURES = 3


class Viewer:
    """One open subscription to a thread: its published batches, and its state."""

    def __init__(self, thread_id: UUID, run_id: UUID | None) -> None:
        self.thread_id = thread_id
        # Runs to look up in Postgres, and those that are over according to Postgres,
        # even if Redis has no `end` event of them.
        self.watched: set[UUID] = {run_id} if run_id else set()
        self.over: set[UUID] = set()
        # The thread itself was deleted.
        self.is_gone = False
        self.all_runs = run_id is None
        # Events may have been missed: the viewer must read the stream first.
        self.has_gap = True
        # Since the last read of the stream, events were queued again.
        self.has_put_back = False
        # The stream has more events to read.
        self.is_behind = False
        # How many reads from Redis have failed in a row.
        self.failures = 0
        # For an expected viewer: since when it is expected, whether its response has
        # begun, and whether it has received anything.
        self.expected_at = 0.0
        self.has_begun = False
        self.is_answered = False
        self._batches: list[list[Event]] = []
        self._waiting_bytes = 0
        self._overflows = False
        self._news = LightEvent()

    @property
    def misses_some(self) -> bool:
        """Whether the stream in Redis may have more events to read."""
        return (self.has_gap or self.is_behind) and self.failures < MAX_FAILURES

    def push(self, events: list[Event], size: int) -> None:
        if self._waiting_bytes < MAX_WAITING:
            self._batches.append(events)
            self._waiting_bytes += size
        else:
            self._overflows = True
        self._news.set()

    def put_back(self, events: list[Event]) -> None:
        """Queue events again, in front of the others: some before them are missing."""
        self._batches.insert(0, events)
        self.has_put_back = True
        self.wake()

    def wake(self) -> None:
        """Make the viewer read the stream, since it may have missed events."""
        self.has_gap = True
        self._news.set()

    def tell(self, over: set[UUID], *, is_gone: bool) -> None:
        """Set the state of the watched runs and the thread according to Postgres."""
        self.over |= over
        self.is_gone = self.is_gone or is_gone
        self.wake()

    async def batches(self, timeout: float) -> list[Event]:
        """Take queued events; empty after `timeout` seconds or on a signal."""
        if not self._batches and not self._news.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(timeout):
                    await self._news.wait()
        self._news.clear()
        if self.has_gap and not self.is_gone:
            # Queued events come after the missing ones, and would hide the gap.
            return []
        taken, self._batches, self._waiting_bytes = self._batches, [], 0
        self.is_behind, self._overflows = self.is_behind or self._overflows, False
        return [event for events in taken for event in events]
