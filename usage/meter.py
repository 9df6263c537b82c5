"""Counts the usage of this process, in counters that only this process writes.

A counter is a row of `usage_totals` with its own id, and each write sets its whole
value: repeating a write changes nothing, processes never wait for each other's rows,
and a call is never counted twice. `kill -9` loses what was not written yet.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID

from spool.database.ids import uuid7
from spool.usage.tokens import NO_TOKENS, Tokens

# A counter that is idle for this long is closed. Later usage gets another row.
CLOSE_AFTER_SECS = 60.0
# How often idle counters are closed.
CLOSE_EVERY_SECS = 10.0
# Older counters are no longer written, since a sweep may have merged them.
MAX_AGE = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Source:
    """The fields that tokens are counted by, besides the day."""

    owner: str
    api_key_id: UUID | None
    assistant_id: UUID
    graph_id: str
    revision: str
    node: str
    provider: str
    model: str


Key = tuple[Source, date]


@dataclass(slots=True)
class _Counter:
    id: UUID = field(default_factory=uuid7)
    total: Tokens = NO_TOKENS
    written: Tokens = NO_TOKENS
    used_at: float = 0.0


@dataclass(frozen=True, slots=True)
class Reading:
    """The value that a counter had when it was read."""

    key: Key
    id: UUID
    total: Tokens

    def as_json(self) -> dict[str, Any]:
        """A row for `usage.statements.WRITE`."""
        source, day = self.key
        row = {**asdict(source), "id": self.id, "day": day}
        return row | self.total.as_json()


class Meter:
    """The counters of one process. All methods are thread-safe."""

    def __init__(self) -> None:
        self._counters: dict[Key, _Counter] = {}
        self._lock = threading.Lock()
        self._closed_at = 0.0

    def add(self, source: Source, tokens: Tokens) -> Key:
        key = (source, datetime.now(UTC).date())
        with self._lock:
            counter = self._counters.setdefault(key, _Counter())
            counter.total += tokens
            counter.used_at = time.monotonic()
        return key

    def unwritten(self, keys: Iterable[Key] | None = None) -> list[Reading]:
        """The counters with unwritten usage, of these `keys` or of all.

        They are sorted by id, so that all statements lock their rows in the same order.
        """
        with self._lock:
            wanted = list(self._counters if keys is None else keys)
            found = [(key, self._counters.get(key)) for key in wanted]
            readings = [
                Reading(key, counter.id, counter.total)
                for key, counter in found
                if counter and counter.total != counter.written
            ]
        return sorted(readings, key=lambda reading: reading.id)

    def written(self, readings: Iterable[Reading]) -> None:
        """Mark these readings as written to Postgres."""
        with self._lock:
            for reading in readings:
                counter = self._counters.get(reading.key)
                if counter is None or counter.id != reading.id:
                    continue
                if reading.total.calls > counter.written.calls:
                    counter.written = reading.total
            self._close_idle()

    def forget(self) -> None:
        """Reset all counters, and discard unwritten usage."""
        with self._lock:
            self._counters.clear()

    def _close_idle(self) -> None:
        now, today = time.monotonic(), datetime.now(UTC).date()
        if now - self._closed_at < CLOSE_EVERY_SECS:
            return
        self._closed_at = now
        closed = [
            key
            for key, counter in self._counters.items()
            if today - key[1] > MAX_AGE
            or (
                counter.written == counter.total
                and now - counter.used_at > CLOSE_AFTER_SECS
            )
        ]
        for key in closed:
            del self._counters[key]


meter = Meter()
