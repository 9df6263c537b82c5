"""Writes a run's events to Redis, in order, without ever blocking its graph.

Until the run ends, its writer keeps the events that it has written, up to a bound: if
Redis dies, hangs, is full or loses data, they are written later, or again under the
same ids. For lost events beyond the bound, viewers get an event `gap`.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any
from uuid import UUID

from django.conf import settings
from redis.exceptions import RedisError

from spool.database.json import dumps
from spool.database.redis import circuit_breaker, undisturbed
from spool.runs.streaming import scripts
from spool.runs.streaming.batches import Batch, append_arguments, life_ms
from spool.runs.streaming.events import (
    END,
    ERROR,
    channel,
    encode,
    ends_channel,
    lifecycle_of,
    redis_client,
    reply_channel,
    stream_key,
)
from spool.runs.streaming.script_calls import ScriptCalls
from spool.telemetry import outages

logger = logging.getLogger(__name__)

# Events of one loop turn share a round trip. The next batch is delayed until this long
# after the last one, in seconds: readers of tokens don't notice, and it saves most of
# the cost.
LINGER = 0.008
# A busy worker delays batches longer, since each write takes CPU time: this many times
# as long as a write has taken, up to a maximum, in seconds.
BUSY_FACTOR = 3
MAX_LINGER = 0.05
# How long the first events of a run may delay its graph, in seconds.
BEGIN_TIMEOUT_SECS = 0.05
# How long the last events of a run may delay its end, in seconds.
SETTLE_TIMEOUT_SECS = 1.0
# How long waiting events are held back for the end, so that both are written at once,
# in seconds.
HOLD_SECS = 0.1
# How long writing the end itself is retried, in seconds.
CLOSE_TIMEOUT_SECS = 2.5
# Pauses before a failed write of a batch is retried, in seconds.
RETRY_DELAYS = (0.05, 0.1, 0.2, 0.5, 1.0)
# How often the writer of a silent run checks that Redis still has its events.
CHECK_SECS = 2.0
# The maximum size of a batch that is built from waiting events.
MAX_BATCH_BYTES = 2**18

FAULTS = (RedisError, OSError)
WireEvent = tuple[str, bytes]


def last_events(
    status: str,
    error: Mapping[str, str] | None,
    *,
    is_paused: bool = False,
    **more: Any,
) -> list[tuple[str, Any]]:
    """The events that viewers get once the end of a run is in Postgres.

    `is_paused`: the run succeeded, with interrupts that wait for an answer. For a run
    that a worker has ended, `more` has `values`, the number of `values` events of its
    last attempt; its `interrupts`, if any; and `refusal`, why its answers were refused.
    """
    lifecycle = lifecycle_of(status, error, is_paused=is_paused)
    lifecycle |= more.pop("refusal", {})
    end = {"status": status, "lifecycle": lifecycle, **more}
    return [*([(ERROR, error)] if status == "error" else []), (END, end)]


def publish_end(
    thread_id: UUID,
    run_id: UUID,
    status: str,
    error: Mapping[str, str] | None = None,
    *,
    generation: int,
    graph_id: str = "",
    is_paused: bool = False,
    used_seq: int = 0,
    has_begun: bool = False,
) -> None:
    """Publish the end of a run that no worker held.

    `has_begun`: a worker has published events of it, which Redis may have lost.
    """
    last = last_events(status, error, is_paused=is_paused)
    events = [(name, dumps(data)) for name, data in last]
    # Keep the events of other runs: one of them may be running.
    ending = scripts.ENDED_BY_OTHERS
    batch = Batch(0, len(events), encode(run_id, events), ending=ending)
    keys = [stream_key(thread_id)]
    argv = append_arguments(
        thread_id,
        run_id,
        batch,
        scripts.OVER,
        "",
        generation,
        used_seq,
        graph_id,
        has_begun=has_begun,
        reply_channel=ends_channel(),
    )
    try:
        with circuit_breaker():
            redis_client().register_script(scripts.APPEND)(keys=keys, args=argv)
    except RedisError as exc:  # Viewers also poll Postgres.
        logger.warning("run %s: could not publish its end: %s", run_id, exc)


async def _is_held() -> bool:
    return True


class EventWriter:
    """The writer of one attempt of a run.

    `is_held` returns whether the attempt still holds the run, as far as is known: a
    process that was suspended for a while must not continue publishing. `reply_to` is
    the address of the web process that created the run, if it waits for the events.
    """

    def __init__(
        self,
        calls: ScriptCalls,
        *,
        thread_id: UUID,
        run_id: UUID,
        attempt: int = 1,
        generation: int = 0,
        graph_id: str = "",
        used_seq: int = 0,
        reply_to: str | None = None,
        is_held: Callable[[], Awaitable[bool]] = _is_held,
    ) -> None:
        self._calls = calls
        self._key = stream_key(thread_id)
        self._thread_id = thread_id
        self._run_id = run_id
        self._attempt = attempt
        self._generation = generation
        self._graph_id = graph_id
        self._reply_channel = reply_channel(reply_to) if reply_to else ""
        # The highest event number of the thread that is known to be used.
        self.used_seq = used_seq
        self._is_held = is_held
        # Events not sent yet; sent, but not confirmed; confirmed. With their sizes.
        self._waiting: deque[WireEvent] = deque()
        self._sent: Batch | None = None
        self._written: deque[Batch] = deque()
        self._waiting_bytes = self._written_bytes = 0
        self._last_id = ""
        self._index = 0
        self._dropped = 0
        self._has_dropped = False
        self._flushing: asyncio.Task[None] | None = None
        self._checking: asyncio.TimerHandle | None = None
        self._holding: asyncio.TimerHandle | None = None
        self._in_order = asyncio.Lock()
        self._is_closed = False
        self._is_failing = False
        # Done when the first events are sent.
        self._begun: asyncio.Future[None] | None = None

    def emit(self, name: str, data: Any) -> None:
        if self._is_closed:
            return  # The run has ended, but its graph has not stopped.
        self._add(name, dumps(data))
        if self._flushing is None or self._flushing.done():
            self._flushing = asyncio.create_task(self._flush())

    async def begin(self, *events: tuple[str, Any]) -> None:
        """Emit the first events, and return once they are on their way to Redis.

        Viewers wait for these events, and the graph may block the event loop.
        """
        for name, data in events:
            self.emit(name, data)
        self._begun = asyncio.get_running_loop().create_future()
        with suppress(TimeoutError):
            async with asyncio.timeout(BEGIN_TIMEOUT_SECS):
                await self._begun
        self._begun = None

    async def close(
        self, *events: tuple[str, Any], if_lost: Iterable[tuple[str, Any]] = ()
    ) -> None:
        """Write `events`, the run's last ones, which end the streams of viewers.

        If events were dropped, write `if_lost` before these, to repeat their content.
        """
        await self._stop()
        last = [*(if_lost if self._has_dropped else ()), *events]
        waiting = [(name, dumps(data)) for name, data in last]
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT_SECS):
                await self._write_at_last(waiting)
        except TimeoutError:  # Viewers get the final values from Postgres.
            outages.redis.failed(f"run {self._run_id}: its end was not published")

    async def settle(self) -> None:
        """Write waiting events, unless Redis hangs. Only the end may follow."""
        await self._stop()
        try:
            async with asyncio.timeout(SETTLE_TIMEOUT_SECS):
                await self._write_at_last()
        except TimeoutError:
            pass

    async def hold(self) -> None:
        """Leave waiting events to `close`, which is expected to be called soon.

        If it is not called within `HOLD_SECS`, they are written without it.
        """
        await self._stop()
        with suppress(TimeoutError):
            async with asyncio.timeout(SETTLE_TIMEOUT_SECS), self._in_order:
                pass
        loop = asyncio.get_running_loop()
        self._holding = loop.call_later(HOLD_SECS, self._stop_holding)

    def _stop_holding(self) -> None:
        self._flushing = asyncio.create_task(self._write_at_last())

    def seq_after(self, count: int) -> int:
        """The number of the last event, if `count` more are written after all others."""
        sent = self._sent.count + self._sent.dropped if self._sent else 0
        return self.used_seq + sent + self._dropped + len(self._waiting) + count

    async def drop(self) -> None:
        """Discard waiting events: the attempt no longer holds the run."""
        self._waiting.clear()
        await self._stop()

    async def remove(self) -> None:
        """Remove the run's events, since the run was deleted."""
        try:
            async with self._in_order:  # A late write would add events again.
                await self._call(scripts.REMOVE, [str(self._run_id)])
        except FAULTS as exc:
            logger.warning("run %s: could not delete its events: %s", self._run_id, exc)

    # --- Waiting events --------------------------------------------------------------
    def _add(self, name: str, data: bytes) -> None:
        self._waiting.append((name, data))
        self._waiting_bytes += len(name) + len(data)
        bound = settings.STREAM_BUFFER_BYTES
        # Keep the last batch: the next one is appended to it.
        while (
            len(self._written) > 1 and self._written_bytes + self._waiting_bytes > bound
        ):
            self._written_bytes -= len(self._written.popleft().data)
        while len(self._waiting) > 1 and self._waiting_bytes > bound:
            gone_name, gone = self._waiting.popleft()
            self._waiting_bytes -= len(gone_name) + len(gone)
            self._dropped += 1
            self._has_dropped = True

    def _take(self) -> Batch:
        """The next batch of waiting events."""
        events: list[WireEvent] = []
        size = 0
        while self._waiting and (not events or size < MAX_BATCH_BYTES):
            name, data = self._waiting.popleft()
            size += len(name) + len(data)
            events.append((name, data))
        self._waiting_bytes -= size
        self._index += 1
        dropped, self._dropped = self._dropped, 0
        data = encode(self._run_id, events)
        return Batch(self._index, len(events), data, dropped)

    # --- Writing -----------------------------------------------------------------------
    async def _flush(self, *, checks: bool = False) -> None:
        failures = 0
        while self._waiting or self._sent or checks:
            begun = asyncio.get_running_loop().time()
            try:
                # Not cancelled halfway, so that a batch is either written or waiting.
                await undisturbed(self._write(checks=checks))
            except FAULTS as exc:
                await self._pause(exc, failures)
                failures += 1
                continue
            checks = False
            if failures:
                logger.info("run %s: publishing its events again", self._run_id)
                self._is_failing, failures = False, 0
            took = asyncio.get_running_loop().time() - begun
            await asyncio.sleep(min(max(LINGER, BUSY_FACTOR * took), MAX_LINGER))
        if self._checking is None and not self._is_closed:
            loop = asyncio.get_running_loop()
            self._checking = loop.call_later(CHECK_SECS, self._check)

    def _check(self) -> None:
        """Check that Redis still has all events, even while none are written."""
        self._checking = None
        if self._is_closed:
            return
        if self._flushing is None or self._flushing.done():
            self._flushing = asyncio.create_task(
                self._flush(checks=bool(self._last_id))
            )

    async def _pause(self, exc: Exception, failures: int) -> None:
        if not self._is_failing:
            self._is_failing = True
            logger.warning("run %s: could not write events: %s", self._run_id, exc)
        await asyncio.sleep(RETRY_DELAYS[min(failures, len(RETRY_DELAYS) - 1)])

    async def _stop(self) -> None:
        self._is_closed = True
        for timer in (self._checking, self._holding):
            if timer:
                timer.cancel()
        self._checking = self._holding = None
        if self._flushing and not self._flushing.done():
            self._flushing.cancel()
            await asyncio.wait([self._flushing])

    async def _write_at_last(self, ending: list[WireEvent] | None = None) -> None:
        """Retry until all is written, including the run's last events, `ending`."""
        failures = 0
        while True:
            try:
                await undisturbed(self._write(ending=ending, is_last=True))
                return
            except FAULTS as exc:
                await self._pause(exc, failures)
                failures += 1

    async def _write(
        self,
        *,
        ending: list[WireEvent] | None = None,
        checks: bool = False,
        is_last: bool = False,
    ) -> None:
        """Write waiting events in batches, then the run's last events, if it ends.

        Events that are added meanwhile wait for the next batch, unless this `is_last`.
        """
        async with self._in_order:
            if ending is None and not await self._is_held():
                self._give_up()
                return
            if checks:
                await self._append_once(Batch(self._index, 0, b""))
            left = len(self._waiting)
            while self._sent or ((left > 0 or is_last) and self._has_batch(ending)):
                if self._sent is None:
                    self._sent = self._take()
                    left -= self._sent.count
                await self._append_once(self._sent)
            if ending:
                self._index += 1
                ending[:0] = self._waiting
                self._waiting.clear()
                self._waiting_bytes = 0
                data = encode(self._run_id, ending)
                dropped, self._dropped = self._dropped, 0
                self._sent = Batch(
                    self._index, len(ending), data, dropped, scripts.ENDED_HERE
                )
                ending.clear()
                await self._append_once(self._sent)

    def _has_batch(self, ending: list[WireEvent] | None) -> bool:
        """Whether to write waiting events now: not if they fit into the end's batch."""
        is_small = self._waiting_bytes < MAX_BATCH_BYTES
        return bool(self._waiting) and not (ending and is_small)

    async def _append_once(self, batch: Batch) -> None:
        """Write a batch, after restoring earlier ones that Redis may have lost."""
        argv = append_arguments(
            self._thread_id,
            self._run_id,
            batch,
            self._attempt,
            self._last_id,
            self._generation,
            self.used_seq,
            self._graph_id,
            has_begun=self._attempt > 1,
            reply_channel=self._reply_channel,
        )
        while (found := await self._call(scripts.APPEND, argv)) == scripts.LOST:
            await self._write_again()
        if found is None:
            self._give_up()
        elif batch.count:
            first, previous, last_seq = (part.decode() for part in found)
            self.used_seq = max(self.used_seq, int(last_seq))
            written = replace(
                batch, first=first, previous=previous, last_seq=int(last_seq)
            )
            self._written.append(written)
            self._written_bytes += len(written.data)
            self._last_id, self._sent = written.last, None

    async def _call(self, script: str, argv: list[Any]) -> Any:
        return await self._calls.call(script, self._key, argv, self._begun)

    async def _write_again(self) -> None:
        logger.warning(
            "run %s: Redis has lost events; writing them again", self._run_id
        )
        argv: list[Any] = [
            channel(self._thread_id),
            str(self._run_id),
            self._attempt,
            self._generation,
            life_ms(scripts.GOES_ON),
            self._graph_id,
            self._reply_channel,
        ]
        for batch in self._written:
            argv += [batch.last, batch.count, batch.data]
            argv += [batch.index, batch.previous, batch.last_seq]
        await self._call(scripts.RESTORE, argv)

    def _give_up(self) -> None:
        """Stop publishing: another attempt has the run, or the run is over."""
        self._is_closed = True
        self._waiting.clear()
        self._sent = None
