"""What a client of a thread receives: the events of all its runs, one after another.

The stream stays open until the thread is deleted. Since clients close the stream on
`end`, a `metadata` event that says that the run is done replaces the `end` of a run.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable, Iterator
from dataclasses import dataclass, field, replace
from uuid import UUID

from django.conf import settings

from spool.database.json import dumps
from spool.runs.streaming import events
from spool.runs.streaming.events import Event
from spool.runs.streaming.fanout import fanout
from spool.runs.streaming.run_form import RunForm
from spool.runs.streaming.run_stream import HEARTBEAT, NEVER, next_events
from spool.runs.streaming.viewer import Viewer

RUN_MODES = "run_modes"
LIFECYCLE = "lifecycle"
# A mode of the API without events: neither the official server nor Spool sends any.
STATE_UPDATE = "state_update"


@dataclass(frozen=True)
class ThreadStream:
    """The options of one client's stream of a thread; `after` as for a run's stream."""

    thread_id: UUID
    # See `events.generation`: events of an earlier thread with this id are not shown.
    generation: int
    after: tuple[int, int] | None
    modes: frozenset[str] = frozenset({RUN_MODES})


async def sse(stream: ThreadStream) -> AsyncGenerator[bytes, None]:
    clock = asyncio.get_running_loop().time
    beat = clock() + settings.STREAM_HEARTBEAT_SECS
    last = stream.after
    async with fanout().watch(stream.thread_id) as viewer:
        runs = _Runs(viewer, stream.modes, stream.generation)
        while not viewer.is_gone:
            over = set(viewer.over)
            batch = await next_events(viewer, last, beat)
            if batch:
                last = batch[-1].id
            shown = list(runs.seen(batch))
            if not viewer.is_behind:
                shown += runs.missed(over, last)
            if shown:
                yield b"".join(event.sse(with_id=True) for event in shown)
            if clock() >= beat:
                beat += settings.STREAM_HEARTBEAT_SECS
                yield HEARTBEAT
        # The thread was deleted: pass on the events that were published before that.
        left = [
            event for event in await viewer.batches(0) if not last or event.id > last
        ]
        if shown := list(runs.seen(left)):
            yield b"".join(event.sse(with_id=True) for event in shown)


@dataclass
class _Runs:
    """The runs of one viewer's thread that have begun, to look up in Postgres."""

    viewer: Viewer
    modes: frozenset[str]
    generation: int
    # Runs that were already reported as done; their own end may arrive later or never.
    published: set[str] = field(default_factory=set)
    form: RunForm = field(default_factory=RunForm)

    def seen(self, batch: Iterable[Event]) -> Iterator[Event]:
        for event in batch:
            if event.generation != self.generation:
                continue
            run_id = UUID(event.run_id)
            if event.name == events.END:
                self.viewer.watched.discard(run_id)
                if event.run_id not in self.published:
                    yield from self._wanted(_done(event))
                continue
            self.viewer.watched.add(run_id)
            if shown := self.form.of(event):
                yield from self._wanted(shown)

    def missed(self, over: set[UUID], last: tuple[int, int] | None) -> Iterator[Event]:
        """The ends of runs that are over, but have no end in Redis."""
        for run_id in over & self.viewer.watched:
            self.viewer.watched.discard(run_id)
            self.published.add(str(run_id))
            # Reuse the last id, so that a client that reconnects misses no events.
            end = Event(str(run_id), last or NEVER, events.END, b"")
            yield from self._wanted(_done(end))
        self.viewer.over -= over

    def _wanted(self, event: Event) -> Iterator[Event]:
        is_lifecycle = event.name in (events.METADATA, events.GAP)
        if RUN_MODES in self.modes or (LIFECYCLE in self.modes and is_lifecycle):
            yield event


def _done(end: Event) -> Event:
    data = dumps({"status": "run_done", "run_id": end.run_id})
    return replace(end, name=events.METADATA, data=data)


async def unknown(thread_id: UUID) -> AsyncGenerator[bytes, None]:
    """The error for a missing thread, or for a thread of another owner."""
    message = f"404: Thread with ID {thread_id} not found"
    data = dumps({"error": "HTTPException", "message": message})
    yield Event("", NEVER, events.ERROR, data).sse(with_id=False)
