"""Events from Redis to the viewers of one web process.

One pub/sub connection serves all viewers. A viewer subscribes, reads the events that it
has missed from the thread's stream, and then gets what is published. If Redis fails or
loses events, viewers still get the end of their run: Postgres is polled at intervals
for all watched runs at once.

The viewer of a run that this process creates needs neither subscription nor reading
(`expect`): the run's worker also publishes its events on the channel of the process,
which is always subscribed.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from typing import cast
from uuid import UUID, uuid4

from django.conf import settings
from django.db.models import Q
from django.db.models.functions import Now
from redis.asyncio.client import PubSub
from redis.exceptions import RedisError

from spool.database.redis import cancel, undisturbed
from spool.runs.models import Run
from spool.runs.streaming.events import (
    Event,
    channel,
    decode_entry,
    decode_published,
    ends_channel,
    new_async_redis,
    reply_channel,
    run_of_reply,
    stream_key,
)
from spool.runs.streaming.expected import ExpectedViewers
from spool.runs.streaming.light_event import LightEvent
from spool.runs.streaming.scripts import GONE, RESTORED
from spool.runs.streaming.viewer import MAX_WAITING, Viewer
from spool.threads.models import Thread
from spool.web.thread_pool import database_threads

logger = logging.getLogger(__name__)

Entry = tuple[bytes, dict[bytes, bytes]]

# Pause before the connection to Redis is tried again, in seconds.
RECONNECT_DELAY = 0.5
# How long a channel without viewers stays subscribed, in seconds: one command then
# unsubscribes from all channels that have lost their viewers.
UNSUBSCRIBE_DELAY = 1.0
# How long a viewer waits for its subscription before it starts without it, in seconds.
SUBSCRIBE_TIMEOUT_SECS = 2.0
# How long a viewer waits for events on the channel of its process before it also watches
# the thread, in seconds: a worker of the version before does not know that channel.
REPLY_TIMEOUT_SECS = 1.0
# How long after the end of a run its `end` event may still arrive, in seconds.
LAST_ENDS_SECS = 3.0
# The maximum and the initial number of batches per read: even a few may be large.
PAGE = 200
FIRST = 8


class Fanout:
    """The viewers of one process. Lives on the web server's event loop."""

    def __init__(self) -> None:
        self.redis = new_async_redis()
        # The name by which workers know this process.
        self.address = uuid4().hex
        self._reply_channel = reply_channel(self.address)
        # These channels stay subscribed, so that the connection is always listening.
        self._own_channels = self._reply_channel, ends_channel()
        self._expected = ExpectedViewers()
        self._viewers: defaultdict[str, set[Viewer]] = defaultdict(set)
        self.viewer_count = 0
        self._pubsub: PubSub = self.redis.pubsub()
        # Whether it is connected, as far as is known. Only `_listen` connects it.
        self._is_connected = False
        self._subscribing = asyncio.Lock()
        # Channels whose subscription Redis has confirmed.
        self._confirmed: defaultdict[str, LightEvent] = defaultdict(LightEvent)
        self._tasks: list[asyncio.Task[None]] = []
        self._subscriptions: set[asyncio.Task[None]] = set()
        # Watched threads that the last lookup in Postgres did not find.
        self._missing: set[UUID] = set()
        # Channels without viewers that are still subscribed.
        self._left: set[str] = set()
        self._leaving: asyncio.TimerHandle | None = None
        self._unsubscribing: asyncio.Task[None] | None = None

    def expect(self, run_id: UUID) -> Viewer | None:
        """Keep the events of a run that is about to be created. Any thread may call this.

        Returns the viewer to pass to `watch`, or to `forget`. Returns None if events
        might not arrive.
        """
        found = [self._confirmed.get(name) for name in self._own_channels]
        if not self._is_connected or not all(one and one.is_set() for one in found):
            return None
        return self._expected.add(run_id)

    def forget(self, run_id: UUID) -> None:
        """Stop expecting events of a run. Any thread may call this."""
        self._expected.forget(run_id)

    @asynccontextmanager
    async def _watch_expected(
        self, viewer: Viewer, thread_id: UUID, run_id: UUID
    ) -> AsyncIterator[Viewer]:
        viewer.thread_id, viewer.has_begun = thread_id, True
        name = channel(thread_id)
        loop = asyncio.get_running_loop()
        doubting = loop.call_later(REPLY_TIMEOUT_SECS, self._watch_too, viewer)
        self.viewer_count += 1
        try:
            yield viewer
        finally:
            doubting.cancel()
            self.forget(run_id)
            self.viewer_count -= 1
            self._unwatch(name, viewer)

    def _watch_too(self, viewer: Viewer) -> None:
        """Let a viewer that has received no events also watch its thread."""
        if viewer.is_answered:
            return
        name = channel(viewer.thread_id)
        self._viewers[name].add(viewer)

        async def subscribe() -> None:
            await self._subscribe(name)
            viewer.wake()

        subscribing = asyncio.create_task(subscribe())
        self._subscriptions.add(subscribing)
        subscribing.add_done_callback(self._subscriptions.discard)

    def _unwatch(self, name: str, viewer: Viewer) -> None:
        if name not in self._viewers:
            return
        self._viewers[name].discard(viewer)
        if not self._viewers[name]:
            del self._viewers[name]
            self._leave(name)

    @asynccontextmanager
    async def watch(
        self,
        thread_id: UUID,
        run_id: UUID | None = None,
        expected: Viewer | None = None,
    ) -> AsyncIterator[Viewer]:
        if expected and run_id and self._expected.find(run_id) is expected:
            async with self._watch_expected(expected, thread_id, run_id) as viewer:
                yield viewer
            return
        viewer = Viewer(thread_id, run_id)
        name = channel(thread_id)
        self._viewers[name].add(viewer)
        self.viewer_count += 1
        try:
            await undisturbed(self._start())
            await undisturbed(self._subscribe(name))
            yield viewer
        finally:
            self.viewer_count -= 1
            self._unwatch(name, viewer)

    async def close(self) -> None:
        """Release the tasks and connections, before the event loop ends."""
        if self._leaving:
            self._leaving.cancel()
        tasks = [*self._tasks, *self._subscriptions, self._unsubscribing]
        await cancel([task for task in tasks if task])
        await self._pubsub.aclose()  # type: ignore[no-untyped-call]
        await self.redis.aclose()

    async def _start(self) -> None:
        for name in self._own_channels:
            _ = self._confirmed[name]
        if not self._tasks:
            self._tasks = [
                asyncio.create_task(self._listen()),
                asyncio.create_task(self._poll_postgres()),
            ]

    async def _subscribe(self, name: str) -> None:
        async with self._subscribing:
            if name not in self._confirmed:
                self._confirmed[name] = LightEvent()
                await self._send(self._pubsub.subscribe, name)
        with suppress(TimeoutError):
            async with asyncio.timeout(SUBSCRIBE_TIMEOUT_SECS):
                await self._confirmed[name].wait()

    def _leave(self, name: str) -> None:
        """Unsubscribe from a channel soon, unless it has viewers again by then."""
        self._left.add(name)
        if self._leaving is None:
            loop = asyncio.get_running_loop()
            self._leaving = loop.call_later(UNSUBSCRIBE_DELAY, self._begin_to_leave)

    def _begin_to_leave(self) -> None:
        self._leaving = None
        self._unsubscribing = asyncio.create_task(self._unsubscribe())

    async def _unsubscribe(self) -> None:
        async with self._subscribing:
            names = [name for name in self._left if name not in self._viewers]
            self._left.clear()
            for name in names:
                self._confirmed.pop(name, None)
            if names:
                await self._send(self._pubsub.unsubscribe, *names)

    async def _send(self, command: Callable[..., Awaitable[None]], *names: str) -> None:
        """Send a command if connected. `_connect` subscribes to all channels anyway."""
        if self._is_connected:
            try:
                await command(*names)
            except (RedisError, OSError):
                self._is_connected = False

    async def read_back(
        self, thread_id: UUID, after: tuple[int, int]
    ) -> tuple[list[Event], bool] | None:
        """Read kept events later than `after`, and whether there are more.

        Returns None if Redis is unavailable.
        """
        try:
            entries, has_more = await self._page(stream_key(thread_id), after)
        except (RedisError, OSError):
            return None
        events = [event for entry in entries for event in decode_entry(*entry)]
        return [event for event in events if event.id > after], has_more

    async def _page(self, key: str, after: tuple[int, int]) -> tuple[list[Entry], bool]:
        """The next entries, up to a number and size, and whether there may be more."""
        entries: list[Entry] = []
        least, count, size = f"({after[0]}-{after[1]}", min(FIRST, PAGE), 0
        while True:
            found = await undisturbed(self.redis.xrange(key, min=least, count=count))
            some = cast("list[Entry]", found)
            entries += some
            size += sum(len(fields[b"e"]) for _, fields in some)
            if len(some) < count:
                return entries, False
            if len(entries) >= PAGE or size >= MAX_WAITING:
                return entries, True
            least, count = f"({some[-1][0].decode()}", 2 * count

    async def _listen(self) -> None:
        while True:
            try:
                await self._connect()
                await self._receive()
            except (RedisError, OSError) as exc:
                logger.warning("redis: %s; reconnecting", exc)
            except Exception:
                logger.exception("the connection for events failed; reconnecting")
            self._is_connected = False
            await asyncio.sleep(RECONNECT_DELAY)

    async def _receive(self) -> None:
        while True:
            message = await self._pubsub.get_message(timeout=None)
            if message is None:
                continue
            name = message["channel"].decode()
            if message["type"] == "subscribe" and name in self._confirmed:
                self._confirmed[name].set()
                # Batches that were published until now may have been missed.
                for viewer in self._viewers_of(name):
                    if not viewer.has_gap:
                        viewer.wake()
            elif message["type"] != "message":
                continue
            elif name in self._own_channels:
                self._pass_on(message["data"])
            else:
                self._deliver(message["data"], self._viewers.get(name, set()))

    def _viewers_of(self, name: str) -> list[Viewer]:
        if name in self._own_channels:
            return list(self._expected)
        return list(self._viewers.get(name, ()))

    def _pass_on(self, data: bytes) -> None:
        """Pass on events of a run to the viewer that expects them, if there is one."""
        viewer = self._expected.find(run_of_reply(data))
        if viewer is None:
            return
        if not viewer.is_answered:
            viewer.is_answered = True
            self._unwatch(channel(viewer.thread_id), viewer)
        if data.startswith(RESTORED):
            viewer.wake()
        else:
            viewer.push(decode_published(data), len(data))

    def _deliver(self, data: bytes, viewers: set[Viewer]) -> None:
        if data == GONE:
            for viewer in viewers:
                # Postgres can't tell: it may have a new thread with that id by now.
                viewer.tell(set(), is_gone=True)
            return
        if data == RESTORED:
            for viewer in viewers:
                viewer.wake()
            return
        events = decode_published(data)
        for viewer in viewers:
            viewer.push(events, len(data))

    async def _connect(self) -> None:
        """Subscribe, on a new connection, to the channels of all viewers."""
        with suppress(RedisError, OSError):
            await self._pubsub.aclose()  # type: ignore[no-untyped-call]
        pubsub = self.redis.pubsub()
        # Not under the lock: if Redis hangs, all viewers would wait for the lock.
        await pubsub.subscribe(self._reply_channel)
        async with self._subscribing:
            self._pubsub, self._is_connected = pubsub, True
            for confirmed in self._confirmed.values():
                confirmed.clear()
            await pubsub.subscribe(*self._confirmed)

    def _all_viewers(self) -> set[Viewer]:
        """The viewers whose run or thread is in Postgres, unless it was deleted."""
        watching = {one for found in self._viewers.values() for one in found}
        # An expected run may not be stored yet, which must not count as its end.
        return watching | {one for one in self._expected if one.has_begun}

    async def _poll_postgres(self) -> None:
        while True:
            await asyncio.sleep(settings.STREAM_HEARTBEAT_SECS)
            self._expected.forget_abandoned()
            viewers = self._all_viewers()
            if not viewers:
                continue
            try:
                await self._look_up(viewers)
            except Exception:
                logger.exception("Could not look up the watched runs")

    async def _look_up(self, viewers: set[Viewer]) -> None:
        """Find ends that were not published because a worker was killed first."""
        watched = {run_id for viewer in viewers for run_id in viewer.watched}
        thread_ids = {viewer.thread_id for viewer in viewers if viewer.all_runs}
        followed = {viewer: set(viewer.watched) for viewer in viewers}
        active = await database_threads.query(active_runs, watched)
        threads = await database_threads.query(_known_threads, thread_ids)
        # The last events of a deleted thread are published after its deletion, so wait
        # for them until the next lookup.
        missing = thread_ids - threads
        deleted, self._missing = missing & self._missing, missing
        for viewer in viewers:
            over = followed[viewer] - active
            gone = viewer.all_runs and viewer.thread_id in deleted
            if over - viewer.over or gone:
                viewer.tell(over, is_gone=gone)


def active_runs(run_ids: set[UUID]) -> set[UUID]:
    """The ids of those runs that are active, or whose `end` event may still arrive."""
    if not run_ids:
        return set()
    of_late = Q(ended_at__gt=Now() - timedelta(seconds=LAST_ENDS_SECS))
    active = Run.objects.filter(Q(status__in=Run.ACTIVE) | of_late, pk__in=run_ids)
    return set(active.values_list("pk", flat=True))


def _known_threads(thread_ids: set[UUID]) -> set[UUID]:
    if not thread_ids:
        return set()
    found = Thread.objects.filter(pk__in=thread_ids, discarded_at=None)
    return set(found.values_list("pk", flat=True))


_fanouts: dict[asyncio.AbstractEventLoop, Fanout] = {}


def fanout() -> Fanout:
    """The fan-out of the running event loop. A server has one per loop."""
    loop = asyncio.get_running_loop()
    if loop not in _fanouts:
        _fanouts[loop] = Fanout()
    return _fanouts[loop]


def expect(run_id: UUID) -> tuple[str, Viewer] | None:
    """The address of this process, and a viewer for a run that it is about to create.

    Returns None if events might not arrive there. Any thread may call this.
    """
    found = list(_fanouts.values())
    # With several loops it is unknown which one will send the response.
    if len(found) != 1:
        return None
    viewer = found[0].expect(run_id)
    return (found[0].address, viewer) if viewer else None


def forget(run_id: UUID) -> None:
    """Stop expecting events of a run that was not created."""
    for each in list(_fanouts.values()):
        each.forget(run_id)


def viewer_count() -> int:
    """The number of open subscriptions of this process."""
    return sum(each.viewer_count for each in list(_fanouts.values()))


async def close_fanout() -> None:
    """Close the fan-out of the running event loop, if any. It must have no viewers."""
    if found := _fanouts.pop(asyncio.get_running_loop(), None):
        await found.close()
