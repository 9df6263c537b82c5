"""The events of a thread that one client receives: those that its subscriptions select.

Both transports use this feed. Events come in order and once, even if several
subscriptions select them. A later subscription first gets the events that it has
missed. If Redis has lost events, a snapshot of the thread replaces them.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar
from uuid import UUID

from django.conf import settings
from redis.exceptions import RedisError

from spool.database.redis import undisturbed
from spool.protocols.event_streaming.envelopes import (
    Envelope,
    channel_of,
    enveloped,
    namespace_of,
)
from spool.protocols.event_streaming.snapshots import Standing, snapshot, standing
from spool.protocols.event_streaming.subscriptions import Filter
from spool.runs.models import Run
from spool.runs.streaming import events
from spool.runs.streaming.events import Event, Place, find_place, generation
from spool.runs.streaming.fanout import SUBSCRIBE_TIMEOUT_SECS, fanout
from spool.runs.streaming.run_stream import NEVER, RETRY_SECS, next_events, with_gaps
from spool.runs.streaming.viewer import Viewer
from spool.runs.streaming.writer import publish_end
from spool.web.thread_pool import database_threads

T = TypeVar("T")


@dataclass(eq=False)
class Subscription:
    """One selection of events.

    `replayed` is done once all past events have been sent; its result is their number.
    """

    id: str
    filter: Filter
    replayed: asyncio.Future[int] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )
    # Only events with a greater number are sent.
    _since: int = 0

    def begin(self, max_seq: int | None) -> None:
        """Set the last number that the client has, at most `max_seq` (None: unknown).

        A greater number belongs to an earlier thread with the same id.
        """
        since = self.filter.since
        self._since = since if max_seq is None else min(since, max_seq)

    def skip(self, seq: int) -> None:
        """Leave out events up to `seq`, which a snapshot has replaced."""
        self._since = max(self._since, seq)

    def takes(self, event: Event) -> bool:
        channel = channel_of(event)
        return (
            channel is not None
            and event.seq > self._since
            and self.filter.takes_channel(channel)
            and self.filter.takes_namespace(namespace_of(event))
        )

    def takes_envelope(self, envelope: Envelope) -> bool:
        return (
            envelope.seq > self._since
            and self.filter.takes_channel(envelope.channel)
            and self.filter.takes_namespace(envelope.namespace)
        )


class Feed:
    """The events of one thread for one client. Lives on the web server's event loop.

    `thread` is where the thread stands, if the caller has just looked it up.
    """

    def __init__(self, thread_id: UUID, thread: Standing | None = None) -> None:
        self.thread_id = thread_id
        self._thread = thread
        self.subscriptions: dict[str, Subscription] = {}
        # Tells apart threads that had the same id; see `events.generation`.
        self._generation = 0
        # The last event of the thread that was read for any subscription.
        self.last_seq = 0
        self._last: tuple[int, int] | None = None
        self._new: list[Subscription] = []
        self._viewer: Viewer | None = None
        # Runs that have begun, and whose end was not received yet, with their graphs.
        self._begun: dict[UUID, str] = {}
        # The run of the last event; empty after a run's end.
        self._noted = ""

    def subscribe(self, subscription: Subscription) -> None:
        self._new.append(subscription)
        if self._viewer:
            self._viewer.wake()

    def unsubscribe(self, subscription_id: str) -> bool:
        return self.subscriptions.pop(subscription_id, None) is not None

    async def envelopes(self) -> AsyncGenerator[list[Envelope], None]:
        """Batches until the thread is gone; an empty one every few seconds."""
        clock = asyncio.get_running_loop().time
        beat = clock() + settings.STREAM_HEARTBEAT_SECS
        async with fanout().watch(self.thread_id) as viewer:
            self._viewer = viewer
            while not viewer.is_gone:
                async for missed in self._catch_up():
                    yield missed
                over = set(viewer.over)
                batch = await next_events(viewer, self._last, beat)
                if shown := await self._shown(batch):
                    yield shown
                if over and not viewer.is_behind:
                    await self._end_again(over)
                if clock() >= beat:
                    beat += settings.STREAM_HEARTBEAT_SECS
                    yield []
            # The thread was deleted, but its runs had ended before: send those events.
            left = [e for e in await viewer.batches(0) if e.id > (self._last or NEVER)]
            if shown := await self._shown(left):
                yield shown

    # --- Beginning --------------------------------------------------------------------
    async def _catch_up(self) -> AsyncGenerator[list[Envelope], None]:
        """Send past events to new subscriptions."""
        while self._new:
            subscription, count = self._new.pop(0), 0
            thread = await self._standing()
            if thread is None:
                subscription.replayed.set_result(0)
                return
            self._generation = generation(thread.created_at)
            async for batch in self._past(subscription, thread):
                count += len(batch)
                yield batch
            self.subscriptions[subscription.id] = subscription
            subscription.replayed.set_result(count)

    async def _standing(self) -> Standing | None:
        if (thread := self._thread) is not None:
            self._thread = None
            return thread
        return await database_threads.query(standing, self.thread_id)

    async def _past(
        self, subscription: Subscription, thread: Standing
    ) -> AsyncGenerator[list[Envelope], None]:
        """Past events for a new subscription; a snapshot for those no longer kept."""
        found = await self._place(subscription.filter.since, thread)
        place = found or Place(NEVER)
        subscription.begin(_max_seq(thread, found))
        if missed := await self._missed(subscription, thread, place):
            if chosen := [one for one in missed if subscription.takes_envelope(one)]:
                yield chosen
            subscription.skip(missed[-1].seq)
        if self._last is None:
            self._last = place.after
            self._watch(thread)
            self.subscriptions[subscription.id] = subscription
            past = self._kept()
        else:
            past = self._replay(subscription, place.after)
        async for batch in past:
            yield batch

    async def _place(self, since: int, thread: Standing) -> Place | None:
        """Where to begin after the number `since`; None if Redis stays unavailable."""
        if not since and thread.is_busy:
            return Place(NEVER)

        async def find() -> Place | None:
            try:
                return await undisturbed(
                    find_place(fanout().redis, self.thread_id, since)
                )
            except (RedisError, OSError):
                return None

        return await _retried(find)

    async def _missed(
        self, subscription: Subscription, thread: Standing, place: Place
    ) -> list[Envelope]:
        """A snapshot, if events after the client's last one are no longer kept.

        Empty otherwise. Events missing from the oldest kept run are reported by an
        event `gap`; those of an active run can still come from its worker.
        """
        since = subscription.filter.since
        before, until = thread.event_seq + 1, ""
        if place.newest_seq:
            before, until = place.oldest_seq, place.begins
            is_missing = until != "" and 0 < since < min(before - 1, thread.event_seq)
        else:
            is_missing = since < thread.event_seq and (since > 0 or not thread.is_busy)
        if not is_missing:
            return []
        return await database_threads.query(
            snapshot, self.thread_id, before, until=until
        )

    def _watch(self, thread: Standing) -> None:
        """Watch Postgres for ends of active runs, which Redis may never publish."""
        self._begun |= thread.active
        if self._viewer:
            self._viewer.watched |= set(thread.active)

    async def _kept(self) -> AsyncGenerator[list[Envelope], None]:
        """The events that Redis has now, for the first subscription."""
        if (viewer := self._viewer) is None:
            return
        viewer.has_gap = True
        while viewer.misses_some and not viewer.is_gone:
            batch = await next_events(viewer, self._last, beat=0)
            if shown := await self._shown(batch):
                yield shown

    async def _replay(
        self, subscription: Subscription, after: tuple[int, int]
    ) -> AsyncGenerator[list[Envelope], None]:
        """Replay events after `after`, up to the last one that the others have got.

        If Redis stays unavailable, a snapshot replaces those that are left.
        """
        last, has_more = self._last or NEVER, True
        while has_more and after < last:
            page = await _retried(partial(fanout().read_back, self.thread_id, after))
            if page is None:
                yield await self._snapshot(self.last_seq + 1, [subscription])
                return
            kept, has_more = page
            past = [event for event in kept if event.id <= last]
            if not past:
                return
            past = list(with_gaps(past, after))
            after = past[-1].id
            if batch := await self._envelopes(past, [subscription]):
                yield batch

    # --- Going on ---------------------------------------------------------------------
    async def _shown(self, batch: list[Event]) -> list[Envelope]:
        if not batch:
            return []
        self._last, self.last_seq = batch[-1].id, batch[-1].seq
        for event in batch:
            if event.generation == self._generation and event.name != events.GAP:
                self._note(event)
        return await self._envelopes(batch, self.subscriptions.values())

    async def _envelopes(
        self, batch: list[Event], subscriptions: Collection[Subscription]
    ) -> list[Envelope]:
        shown: list[Envelope] = []
        for event in batch:
            if event.generation != self._generation:
                continue
            if event.name == events.GAP:
                shown += await self._snapshot(event.seq, subscriptions)
            elif any(subscription.takes(event) for subscription in subscriptions):
                envelope = enveloped(event)
                shown += [envelope] if envelope else []
        return shown

    async def _snapshot(
        self, before: int, subscriptions: Collection[Subscription]
    ) -> list[Envelope]:
        """A snapshot for events that Redis lost; ends of runs are sent separately."""
        made = await database_threads.query(
            snapshot, self.thread_id, before, with_end=False
        )
        return [
            one for one in made if any(sub.takes_envelope(one) for sub in subscriptions)
        ]

    def _note(self, event: Event) -> None:
        if event.name == events.END:
            run_id, self._noted = UUID(event.run_id), ""
            self._begun.pop(run_id, None)
            if self._viewer:
                self._viewer.watched.discard(run_id)
        elif event.run_id != self._noted:
            self._noted, run_id = event.run_id, UUID(event.run_id)
            if run_id not in self._begun:
                self._begun[run_id] = event.graph_id
                if self._viewer:
                    self._viewer.watched.add(run_id)

    async def _end_again(self, over: set[UUID]) -> None:
        """Publish the ends of runs that have ended in Postgres, but not in Redis.

        A published end has its own number, for all clients of the thread.
        """
        if self._viewer is None:
            return
        for run_id in over & self._begun.keys():
            graph_id = self._begun[run_id]
            await database_threads.query(_publish, self.thread_id, run_id, graph_id)
        self._viewer.over -= over


async def _retried(read: Callable[[], Awaitable[T | None]]) -> T | None:
    """Read from Redis until it is available. None if it stays unavailable."""
    clock = asyncio.get_running_loop().time
    deadline = clock() + SUBSCRIBE_TIMEOUT_SECS
    while (found := await read()) is None and clock() <= deadline:
        await asyncio.sleep(RETRY_SECS)
    return found


def _max_seq(thread: Standing, place: Place | None) -> int | None:
    """The highest number that an event of the thread can have; None if unknown."""
    if place is None:
        return None
    if place.newest_seq:
        return max(place.newest_seq, thread.event_seq)
    # Redis has lost all events; the worker may add them again under their numbers.
    return thread.max_seq


def _publish(thread_id: UUID, run_id: UUID, graph_id: str) -> None:
    """Publish the end that Postgres has for a run; a missing run was rolled back."""
    run = Run.objects.filter(pk=run_id).only("status", "error", "attempt").first()
    thread = standing(thread_id)
    if thread is None or (run and run.is_active):
        return
    publish_end(
        thread_id,
        run_id,
        run.status if run else Run.Status.INTERRUPTED,
        run.error if run else None,
        generation=generation(thread.created_at),
        graph_id=graph_id,
        is_paused=thread.is_paused,
        used_seq=thread.event_seq,
        has_begun=run is None or run.attempt > 0,
    )
