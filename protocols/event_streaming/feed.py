"""The events of a thread that one client receives: those that its subscriptions select.

Both transports are this feed. Events come in order and once, whichever subscriptions
they are for; a later subscription first gets what it has missed. Where Redis has lost
events, a snapshot of the thread stands in for them.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable, Iterator
from dataclasses import dataclass, field
from uuid import UUID

from django.conf import settings
from redis.exceptions import RedisError

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
from spool.runs.streaming.fanout import Viewer, fanout
from spool.runs.streaming.run_stream import NEVER, next_events
from spool.runs.streaming.scripts import SEQ_JUMP
from spool.runs.streaming.writer import publish_end
from spool.web.thread_pool import database_threads


@dataclass(eq=False)
class Subscription:
    """`replayed` is done, with their number, once it has got the events of the past."""

    id: str
    filter: Filter
    replayed: asyncio.Future[int] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )
    # Only events with a greater number are for it.
    _since: int = 0

    def begin(self, newest_seq: int) -> None:
        """A number that was never reached is of an earlier thread of this id."""
        self._since = min(self.filter.since, newest_seq)

    def takes(self, event: Event) -> bool:
        channel = channel_of(event)
        return (
            channel is not None
            and event.seq > self._since
            and self.filter.takes_channel(channel)
            and self.filter.takes_namespace(namespace_of(event))
        )

    def takes_envelope(self, envelope: Envelope) -> bool:
        return self.filter.takes_channel(
            envelope.channel
        ) and self.filter.takes_namespace(envelope.namespace)


class Feed:
    """The events of one thread for one client. Lives on the web server's event loop."""

    def __init__(self, thread_id: UUID) -> None:
        self.thread_id = thread_id
        self.subscriptions: dict[str, Subscription] = {}
        # Which of the threads that had this id; see `events.generation`.
        self._generation = 0
        # The last event of the thread that was read, for any subscription.
        self.last_seq = 0
        self._last: tuple[int, int] | None = None
        self._new: list[Subscription] = []
        self._viewer: Viewer | None = None
        # The graphs of runs that have begun, and whose end was not received yet.
        self._begun: dict[UUID, str] = {}

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
            # The thread went, but its runs had ended before.
            left = [e for e in await viewer.batches(0) if e.id > (self._last or NEVER)]
            if shown := await self._shown(left):
                yield shown

    # --- Beginning --------------------------------------------------------------------
    async def _catch_up(self) -> AsyncGenerator[list[Envelope], None]:
        """Send past events to new subscriptions."""
        while self._new:
            subscription = self._new.pop(0)
            thread = await database_threads.query(standing, self.thread_id)
            if thread is None or self._viewer is None:
                subscription.replayed.set_result(0)
                return
            self._generation = generation(thread.created_at)
            place, count = await self._place(subscription.filter.since), 0
            subscription.begin(max(place.newest_seq, thread.event_seq))
            missed = await self._missed(subscription, thread, place)
            if chosen := [one for one in missed if subscription.takes_envelope(one)]:
                count += len(chosen)
                yield chosen
            if self._last is None:
                self._last = place.after
                self._watch(thread)
                self.subscriptions[subscription.id] = subscription
                past = self._kept(self._viewer)
            else:
                past = self._replay(subscription, place.after)
            async for batch in past:
                count += len(batch)
                yield batch
            self.subscriptions[subscription.id] = subscription
            subscription.replayed.set_result(count)

    async def _place(self, since: int) -> Place:
        try:
            return await find_place(fanout().redis, self.thread_id, since)
        except (RedisError, OSError):
            # Send all stored events, once Redis answers: clients drop duplicates.
            return Place(NEVER, 0, 0)

    async def _missed(
        self, subscription: Subscription, thread: Standing, place: Place
    ) -> list[Envelope]:
        """A snapshot, where events after the client's last one are not kept."""
        # An event `gap` reports events that are missing before the stored ones.
        is_told = place.newest_seq > 0 or thread.is_busy
        if is_told or subscription.filter.since >= thread.event_seq:
            return []
        before = thread.event_seq + SEQ_JUMP
        return await database_threads.query(snapshot, self.thread_id, before)

    def _watch(self, thread: Standing) -> None:
        """Look in Postgres for ends of runs that Redis may never publish."""
        self._begun |= thread.active
        if self._viewer:
            self._viewer.watched |= set(thread.active)

    async def _kept(self, viewer: Viewer) -> AsyncGenerator[list[Envelope], None]:
        """What Redis has by now, for the first subscription."""
        viewer.has_gap = True
        while viewer.misses_some and not viewer.is_gone:
            batch = await next_events(viewer, self._last, beat=0)
            if shown := await self._shown(batch):
                yield shown

    async def _replay(
        self, subscription: Subscription, after: tuple[int, int]
    ) -> AsyncGenerator[list[Envelope], None]:
        """Up to where the other subscriptions are."""
        last, has_more = self._last or NEVER, True
        while has_more and after < last:
            page = await fanout().read_back(self.thread_id, after)
            if page is None:  # Redis is away: what comes later is read again, too.
                return
            kept, has_more = page
            past = [event for event in kept if event.id <= last]
            if not past:
                return
            after = past[-1].id
            if batch := list(_chosen(past, [subscription])):
                yield batch

    # --- Going on ---------------------------------------------------------------------
    async def _shown(self, batch: list[Event]) -> list[Envelope]:
        if not batch:
            return []
        self._last, self.last_seq = batch[-1].id, batch[-1].seq
        shown: list[Envelope] = []
        for event in batch:
            if event.generation != self._generation:
                continue
            if event.name == events.GAP:
                shown += await self._snapshot(event.seq)
            else:
                self._note(event)
                shown += _chosen([event], self.subscriptions.values())
        return shown

    async def _snapshot(self, before: int) -> list[Envelope]:
        """A snapshot for events that Redis lost; ends of runs are sent separately."""
        made = await database_threads.query(
            snapshot, self.thread_id, before, with_end=False
        )
        chosen = self.subscriptions.values()
        return [one for one in made if any(sub.takes_envelope(one) for sub in chosen)]

    def _note(self, event: Event) -> None:
        run_id = UUID(event.run_id)
        if event.name == events.END:
            self._begun.pop(run_id, None)
            if self._viewer:
                self._viewer.watched.discard(run_id)
        elif run_id not in self._begun:
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


def _chosen(
    batch: Iterable[Event], subscriptions: Iterable[Subscription]
) -> Iterator[Envelope]:
    chosen = list(subscriptions)
    for event in batch:
        if not any(subscription.takes(event) for subscription in chosen):
            continue
        if envelope := enveloped(event):
            yield envelope


def _publish(thread_id: UUID, run_id: UUID, graph_id: str) -> None:
    """Publish the end of a run as in Postgres; a missing run was rolled back."""
    run = Run.objects.filter(pk=run_id).only("status", "error").first()
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
    )
