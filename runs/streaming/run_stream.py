"""What a client of a run receives: server-sent events, or the JSON of `wait`.

Both use the same subscription to the run's thread. The stream ends when the run's end
arrives, or when the run is over in Postgres and Redis has no more events.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator, Set
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any
from uuid import UUID

from django.conf import settings

from spool.database.json import dumps, loads
from spool.database.redis import undisturbed
from spool.runs.models import Run
from spool.runs.streaming import events
from spool.runs.streaming.attendance import attending
from spool.runs.streaming.events import Event
from spool.runs.streaming.fanout import active_runs, fanout
from spool.runs.streaming.modes import INTERRUPT, with_interrupts
from spool.runs.streaming.run_form import RunForm
from spool.runs.streaming.viewer import Viewer
from spool.threads.state import get_output
from spool.web.http_protocol import server_is_stopping
from spool.web.thread_pool import database_threads

HEARTBEAT = b": heartbeat\r\n\r\n"
NEVER = (0, 0)
# Pause before a failed read from Redis is tried again, in seconds.
RETRY_SECS = 0.2
# How long after the end of a run a viewer waits for its last events, in seconds.
LAST_EVENTS_SECS = 0.3
# Shown with any stream modes.
ALWAYS_SHOWN = frozenset({events.ERROR, events.END, events.GAP})
UNKNOWN_RUN = {"error": "HTTPException", "message": "404: Run not found"}


@dataclass(frozen=True)
class RunStream:
    """The options of one client's stream of a run.

    `after`: the id of the last event that the client has, `(0, 0)` for all events, None
    for only those from now on. `modes`: stream modes to pass on, None for all.
    """

    thread_id: UUID
    run_id: UUID
    after: tuple[int, int] | None = NEVER
    modes: Set[str] | None = None
    with_ids: bool = False
    # See `RunForm`.
    in_chunks: bool = False
    # The run was created by this request, so it can't have ended long ago.
    is_new: bool = False
    # The viewer that gets the run's events since before the run was created.
    expected: Viewer | None = None
    # Called when the client goes away before the end.
    on_disconnect: Callable[[], None] | None = None
    # The run ends with its client, even if this process dies before it can say so.
    ends_with_client: bool = False

    def wants(self, event: Event) -> bool:
        if event.run_id != str(self.run_id):
            return False
        if self.modes is None or event.name in ALWAYS_SHOWN:
            return True
        if event.name == events.METADATA:
            # `metadata` is shown for later attempts, which may repeat some events.
            return b'"attempt":1' not in event.data.replace(b" ", b"")
        return event.name.partition("|")[0].partition("/")[0] in self.modes


async def sse(stream: RunStream) -> AsyncGenerator[bytes, None]:
    """The bytes of a run's event stream, with a heartbeat every few seconds."""
    async with aclosing(follow(stream)) as batches:
        async for batch in batches:
            if not batch:
                yield HEARTBEAT
                continue
            # Clients expect nothing after an `error`.
            yield b"".join(
                event.sse(with_id=stream.with_ids)
                for event in batch
                if not _is_failure(event)
            )


async def wait(stream: RunStream) -> AsyncGenerator[bytes, None]:
    """A newline every few seconds, then the JSON of the run's result."""
    answer = _Answer()
    async with aclosing(follow(stream)) as batches:
        async for batch in batches:
            if not batch:
                yield b"\n"
            for event in batch:
                answer.see(event)
    body = answer.json()
    yield body or dumps(await database_threads.query(result, stream.run_id))


async def current(run_id: UUID) -> AsyncGenerator[bytes, None]:
    """The response of `join` for a run that has ended: all values of its thread."""
    yield dumps(await database_threads.query(result, run_id, whole=True))


@dataclass
class _Answer:
    """The result of a run from its own events, with the key order of its graph.

    Without those events it is read from Postgres, which does not keep the order of
    keys.
    """

    values: bytes = b""
    number_of_values: int = 0
    end: dict[str, Any] = field(default_factory=dict)

    def see(self, event: Event) -> None:
        if event.name == events.METADATA:  # A new attempt begins.
            self.number_of_values = 0
        elif event.name == "values":
            self.values = event.data
            self.number_of_values += 1
        elif event.name == events.END:
            self.end = events.end_of(event)

    def json(self) -> bytes | None:
        """The result as JSON. None if it can't be derived from the events."""
        if self.end.get("status") != Run.Status.SUCCESS or not self.number_of_values:
            return None
        if self.end.get("values") != self.number_of_values:
            return None  # Some events are missing.
        if "interrupts" not in self.end:
            return self.values
        values = loads(self.values)
        if isinstance(values, dict):
            values.pop(INTERRUPT, None)
        return dumps(with_interrupts(values, self.end["interrupts"]))


def _is_failure(event: Event) -> bool:
    is_end = event.name == events.END
    return is_end and events.end_of(event)["status"] == Run.Status.ERROR


async def stopped(stream: RunStream) -> AsyncGenerator[bytes, None]:
    """Like `wait`, for a run being stopped: `{}` once its worker confirms it."""
    async with aclosing(follow(stream)) as batches:
        async for batch in batches:
            if not batch:
                yield b"\n"
    yield b"{}"


async def unknown_json() -> AsyncGenerator[bytes, None]:
    yield dumps({"__error__": UNKNOWN_RUN})


async def unknown_sse() -> AsyncGenerator[bytes, None]:
    yield Event("", NEVER, events.ERROR, dumps(UNKNOWN_RUN)).sse(with_id=False)


async def nothing() -> AsyncGenerator[bytes, None]:
    """An empty stream, for an invalid event id."""
    for part in tuple[bytes, ...]():
        yield part


def result(run_id: UUID, *, whole: bool = False) -> Any:
    """The response of `wait` and `join`; see the wire contract, section 5.3.

    `whole`: include values that are not in the graph's output schema.
    """
    run = Run.objects.select_related("thread").filter(pk=run_id).first()
    if run is None:  # Rolled back, or deleted with its thread.
        return {}
    if run.status == Run.Status.ERROR:
        return {"__error__": run.error}
    thread = run.thread
    values = thread.values if whole else get_output(thread, run.graph_id)
    return with_interrupts(values, thread.ordered_interrupts)


async def follow(stream: RunStream) -> AsyncGenerator[list[Event], None]:
    """Batches of the run's events until its end; an empty one is a heartbeat.

    `on_disconnect` is called if the client leaves before the end. It is not called if
    the stream is closed because the server stops, since the client will reconnect.
    """
    ended = False
    try:
        async with AsyncExitStack() as stack:
            if stream.ends_with_client:
                redis = fanout().redis
                await stack.enter_async_context(attending(redis, stream.run_id))
            batches = await stack.enter_async_context(aclosing(_follow(stream)))
            async for batch in batches:
                yield batch
        ended = True
    finally:
        if not ended and stream.on_disconnect and not server_is_stopping():
            await undisturbed(database_threads.query(stream.on_disconnect))


async def _follow(stream: RunStream) -> AsyncGenerator[list[Event], None]:
    """Batches of the run's events until its end; an empty one is a heartbeat."""
    last, clock = stream.after, asyncio.get_running_loop().time
    form = RunForm(stream.in_chunks)
    beat = clock() + settings.STREAM_HEARTBEAT_SECS
    async with fanout().watch(
        stream.thread_id, stream.run_id, stream.expected
    ) as viewer:
        # For a client that joins a run that ended long ago, nothing will be published.
        joined_late = not stream.is_new and await database_threads.query(
            _is_over, stream.run_id
        )
        if joined_late:
            await _expect_nothing(viewer, stream.run_id)
        while True:
            over = bool(viewer.over)
            batch = await next_events(viewer, last, beat)
            if batch:
                last = batch[-1].id
            shown = (form.of(event) for event in batch)
            wanted = [event for event in shown if event and stream.wants(event)]
            if wanted:
                yield wanted
            if any(event.name == events.END for event in wanted):
                return
            if over and not viewer.misses_some:
                missed_end = stream.after is not None or not joined_late
                # Reuse the last id, so that a client that reconnects gets no repeats.
                at = last or NEVER
                yield await database_threads.query(_final, stream, missed_end, at)
                return
            if clock() >= beat:
                beat += settings.STREAM_HEARTBEAT_SECS
                yield []


def _final(stream: RunStream, missed_end: bool, at: tuple[int, int]) -> list[Event]:
    """The end of a run from Postgres, where Redis has lost its events."""
    run = Run.objects.select_related("thread").filter(pk=stream.run_id).first()
    last: list[tuple[str, bytes]] = []
    if run and run.status == Run.Status.ERROR:
        last.append((events.ERROR, dumps(run.error)))
    elif run and missed_end and "values" in run.kwargs["stream_mode"]:
        last.append(("values", dumps(result(run.id))))
    end = {"status": run.status if run else Run.Status.INTERRUPTED}
    last.append((events.END, dumps(end)))
    made = [Event(str(stream.run_id), at, name, data) for name, data in last]
    return [event for event in made if stream.wants(event)]


async def next_events(
    viewer: Viewer, last: tuple[int, int] | None, beat: float
) -> list[Event]:
    """The next events later than `last`, from the stream where some may be missing."""
    is_deleted = False
    if viewer.has_gap or viewer.is_behind:
        was_behind, viewer.has_gap, viewer.is_behind = viewer.is_behind, False, False
        read = fanout().read_back(viewer.thread_id, last) if last else None
        page = await read if read else ([], False)
        if page is None:
            # Read again before passing on published events: they would hide the events
            # that could not be read.
            viewer.has_gap, viewer.is_behind = True, was_behind
            viewer.failures += 1
            await asyncio.sleep(RETRY_SECS)
            return []
        viewer.failures = 0
        kept, viewer.is_behind = page
        # If nothing is kept: the stream lacks even the events that were put back.
        is_deleted, viewer.has_put_back = viewer.has_put_back, False
        if kept:
            return list(with_gaps(kept, last or NEVER))
    timeout = 0 if viewer.over else max(beat - asyncio.get_running_loop().time(), 0)
    batch = await viewer.batches(timeout)
    if last is None:
        return batch
    later = [event for event in batch if event.id > last]
    following = list(_following(later, last))
    if len(following) < len(later):
        # Events are missing in between: read these from the stream.
        if is_deleted:
            return list(with_gaps(later, last))
        viewer.put_back(later[len(following) :])
    return following


def _following(batch: list[Event], last: tuple[int, int]) -> Iterator[Event]:
    """The events up to the first that follows a missing one; all are after `last`."""
    for event in batch:
        if event.previous and event.previous > last:
            return
        yield event
        last = event.id


def with_gaps(kept: list[Event], last: tuple[int, int]) -> Iterator[Event]:
    """The kept events, with `gap` events in place of those that Redis has lost."""
    for event in kept:
        if event.previous and event.previous > last:
            data = {"from": _id(last), "to": _id(event.previous)}
            yield replace(event, id=event.previous, name=events.GAP, data=dumps(data))
        yield event
        last = event.id


async def _expect_nothing(viewer: Viewer, run_id: UUID) -> None:
    """Let a viewer know that its run is over.

    If the run has just ended, do so after a delay: its last events may still arrive.
    """
    if await database_threads.query(active_runs, {run_id}):
        over = partial(viewer.tell, {run_id}, is_gone=False)
        asyncio.get_running_loop().call_later(LAST_EVENTS_SECS, over)
    else:
        viewer.over.add(run_id)


def _is_over(run_id: UUID) -> bool:
    return not Run.objects.filter(pk=run_id).active().exists()


def _id(number: tuple[int, int]) -> str:
    return f"{number[0]}-{number[1]}"
