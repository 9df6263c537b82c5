"""A run's events: written by its worker, kept in Redis for a while, read by viewers.

A thread has one Redis stream; its runs follow one another in it. An entry is a batch
of events of one run; what a viewer calls an event's id is `<ms>-<n>`, by Redis's clock,
and the entry's own id is that of its last event. Each batch is also published, so that
viewers get it without asking. Postgres holds the truth: losing all of this loses none.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any
from uuid import UUID

import redis
import redis.asyncio
from django.conf import settings
from redis.exceptions import RedisError

from spool.database.json import dumps
from spool.database.redis import patience

logger = logging.getLogger(__name__)

# Told to viewers by `event:`; the others are stream modes. The data of END, for us
# alone, is the status that the run ended with.
METADATA = "metadata"
ERROR = "error"
END = "end"
# Published in the place of a batch: the thread was deleted.
GONE = b"gone"

# Events of one loop turn share a round trip. A stream of tokens is held back this long
# (seconds) behind its last batch, which no reader sees and which saves most of its cost.
LINGER = 0.008
# How long the end of a run may be held up by its last events, in seconds.
SETTLE_PATIENCE = 1.0

# KEYS: stream. ARGV: channel, number of events, longest stream, its life in ms, events,
# whether the stream may now live shorter than it would have, and the run's attempt.
# One call stores and publishes, and takes ids from one clock whoever the worker is. It
# does nothing for an attempt that another one has overtaken: a worker that is cut off
# from Postgres alone goes on telling what its run did there.
_APPEND = """
local now = redis.call('TIME')
local ms = now[1] * 1000 + math.floor(now[2] / 1000)
local seq = 0
local last = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1]
if last then
    local run, overtaken = string.sub(ARGV[5], 1, 36), tonumber(last[2][6] or 0)
    if overtaken > tonumber(ARGV[7]) and string.sub(last[2][4], 1, 36) == run then
        return false
    end
    local last_ms, last_seq = string.match(last[1], '(%d+)-(%d+)')
    if tonumber(last_ms) >= ms then
        ms, seq = tonumber(last_ms), tonumber(last_seq) + 1
    end
end
local first = string.format('%.0f-%.0f', ms, seq)
local id = string.format('%.0f-%.0f', ms, seq + ARGV[2] - 1)
redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[3], id,
    'n', ARGV[2], 'e', ARGV[5], 'a', ARGV[7])
if ARGV[6] == '1' or redis.call('PTTL', KEYS[1]) < tonumber(ARGV[4]) then
    redis.call('PEXPIRE', KEYS[1], ARGV[4])
end
redis.call('PUBLISH', ARGV[1], first .. '\\n' .. ARGV[5])
return first
"""


# In the place of an attempt: nothing more is told of a run that is over.
OVER = 2**31

# Redis counts both halves of an id in 64 bits.
_LAST_ID = 2**64 - 1


@dataclass(frozen=True, slots=True)
class Event:
    """One event as viewers get it; `id` orders all events of a thread."""

    run_id: str
    id: tuple[int, int]
    name: str
    data: bytes

    def sse(self, *, with_id: bool) -> bytes:
        """The official server's framing: CRLF, and the id last."""
        data = b"null" if self.name == END else self.data
        end = b"\r\nid: %d-%d\r\n\r\n" % self.id if with_id else b"\r\n\r\n"
        return b"event: %s\r\ndata: %s%s" % (self.name.encode(), data, end)


def stream_key(thread_id: UUID | str) -> str:
    return f"{settings.REDIS_KEY_PREFIX}spool:thread:{thread_id}:events"


def channel(thread_id: UUID | str) -> str:
    return f"{settings.REDIS_KEY_PREFIX}spool:thread:{thread_id}"


def control_channel() -> str:
    return f"{settings.REDIS_KEY_PREFIX}spool:stop"


def signal_stop(run_id: UUID, action: str) -> None:
    """Ask whichever worker has the run to stop it. Its row says so too."""
    try:
        with patience():
            redis_client().publish(control_channel(), f"{run_id} {action}")
    except RedisError as exc:
        logger.warning("run %s: its stop was not signalled: %s", run_id, exc)


def stop_signals() -> Iterator[tuple[UUID, str]]:
    """Every run that somebody wants stopped, as it is asked for; blocks."""
    client: Any = redis_client()
    with client.pubsub(ignore_subscribe_messages=True) as bus:
        bus.subscribe(control_channel())
        for message in bus.listen():
            run_id, _, action = message["data"].decode().partition(" ")
            yield UUID(run_id), action


def newest_id(thread_id: UUID) -> tuple[int, int] | None:
    """The id of a thread's last event, `(0, 0)` if none is kept. None: can't be told."""
    try:
        with patience():
            found: Any = redis_client().xrevrange(stream_key(thread_id), count=1)
    except RedisError:
        return None
    return parse_id(found[0][0].decode()) if found else (0, 0)


def forget(thread_ids: Sequence[UUID]) -> None:
    """Keep nothing of threads that are gone, and no viewer of them.

    Whoever takes their ids would see what was, or be seen by who looked at it.
    """
    if not thread_ids:
        return
    try:
        with patience(), redis_client().pipeline(transaction=False) as pipeline:
            pipeline.unlink(*map(stream_key, thread_ids))
            for thread_id in thread_ids:
                pipeline.publish(channel(thread_id), GONE)
            pipeline.execute()
    except RedisError as exc:
        logger.warning("events of deleted threads were not deleted: %s", exc)


def encode(run_id: UUID | str, events: Iterable[tuple[str, bytes]]) -> bytes:
    """A batch: the run's id, then a name and compact JSON for each event, by lines."""
    lines = [str(run_id).encode()]
    for name, data in events:
        lines += [name.replace("\n", " ").encode(), data]
    return b"\n".join(lines)


def decode(first: tuple[int, int], batch: bytes) -> Iterator[Event]:
    run_id, *lines = batch.split(b"\n")
    ms, seq = first
    for index in range(0, len(lines), 2):
        event_id = (ms, seq + index // 2)
        name = lines[index].decode()
        yield Event(run_id.decode(), event_id, name, lines[index + 1])


def parse_id(text: str) -> tuple[int, int]:
    """`<ms>-<n>`, or `<ms>` alone. Raises `ValueError`."""
    ms, _, seq = text.partition("-")
    if not (ms.isdecimal() and (seq or "0").isdecimal()):
        raise ValueError(f"{text!r} is not an event id")
    found = int(ms), int(seq or 0)
    if max(found) > _LAST_ID:
        raise ValueError(f"{text!r} is later than any event")
    return found


@cache
def redis_client() -> redis.Redis:
    return redis.Redis.from_url(settings.REDIS_URL, **_options())


def new_async_redis() -> redis.asyncio.Redis:
    """A client for the loop that calls this."""
    return redis.asyncio.Redis.from_url(settings.REDIS_URL, **_options())


def _options() -> dict[str, Any]:
    return {
        "max_connections": settings.REDIS_MAX_CONNECTIONS,
        "socket_timeout": settings.REDIS_TIMEOUT_SECS,
        "socket_connect_timeout": settings.REDIS_TIMEOUT_SECS,
    }


def _arguments(
    thread_id: UUID,
    run_id: UUID,
    events: list[tuple[str, bytes]],
    *,
    ended: bool,
    shortens: bool = True,
    attempt: int = 1,
) -> tuple[list[str], list[Any]]:
    life: float = settings.RESUMABLE_STREAM_TTL_SECONDS
    if not ended:
        life += max(settings.BG_JOB_TIMEOUT_SECS, 3600)
    return [stream_key(thread_id)], [
        channel(thread_id),
        len(events),
        settings.STREAM_MAX_EVENTS,
        int(life * 1000),
        encode(run_id, events),
        int(shortens),
        OVER if ended else attempt,
    ]


def last_events(status: str, error: object) -> list[tuple[str, Any]]:
    """What viewers get once the end of a run is in Postgres."""
    return [*([(ERROR, error)] if status == "error" else []), (END, status)]


def publish_end(
    thread_id: UUID, run_id: UUID, status: str, error: object = None
) -> None:
    """Tell viewers that a run is over which no worker held."""
    events = [(name, dumps(data)) for name, data in last_events(status, error)]
    # Another run of the thread may be running: its events must stay.
    keys, argv = _arguments(thread_id, run_id, events, ended=True, shortens=False)
    try:
        with patience():
            redis_client().register_script(_APPEND)(keys=keys, args=argv)
    except RedisError as exc:  # Viewers also ask Postgres, now and then.
        logger.warning("run %s: its end was not published: %s", run_id, exc)


class EventWriter:
    """Writes one run's events, in order, without ever holding up the graph.

    What Redis refuses is dropped after a warning: viewers then get the final values
    with the end, or from Postgres.
    """

    def __init__(
        self,
        client: redis.asyncio.Redis,
        *,
        thread_id: UUID,
        run_id: UUID,
        attempt: int = 1,
    ) -> None:
        self._client = client
        self._append = client.register_script(_APPEND)
        self._thread_id = thread_id
        self._run_id = run_id
        self._attempt = attempt
        self._waiting: list[tuple[str, bytes]] = []
        self._flushing: asyncio.Task[None] | None = None
        self._settling: asyncio.Task[None] | None = None
        self._in_order = asyncio.Lock()
        self._is_closed = False
        self._has_lost = False

    def emit(self, name: str, data: Any) -> None:
        if self._is_closed:
            return  # A graph that does not stop, of a run that has ended.
        self._waiting.append((name, dumps(data)))
        if self._flushing is None or self._flushing.done():
            self._flushing = asyncio.create_task(self._flush())

    async def close(
        self, *events: tuple[str, Any], if_lost: Iterable[tuple[str, Any]] = ()
    ) -> None:
        """Write `events`, the run's last; viewers go home.

        Before them `if_lost`, where something was dropped that may have said it.
        """
        await self._stop()
        if self._settling:
            await asyncio.wait([self._settling])
        last = [*(if_lost if self._has_lost else ()), *events]
        self._waiting += [(name, dumps(data)) for name, data in last]
        await self._write(ended=True)

    async def settle(self) -> None:
        """Write what waits, unless Redis hangs; nothing but an end may follow."""
        await self._stop()
        # Not to be cancelled: what comes last waits until this is through.
        self._settling = asyncio.create_task(self._write(ended=False))
        await asyncio.wait([self._settling], timeout=SETTLE_PATIENCE)

    async def drop(self) -> None:
        """Write nothing more: what waits is from an attempt that counts no longer."""
        self._waiting.clear()
        await self._stop()

    async def forget(self) -> None:
        """Delete what was written, and all else of the thread, which is gone."""
        try:
            async with self._in_order:  # A late write would bring it back.
                await self._client.unlink(stream_key(self._thread_id))
        except (RedisError, OSError) as exc:
            logger.warning("events of a deleted thread were not deleted: %s", exc)

    async def _stop(self) -> None:
        self._is_closed = True
        if self._flushing and not self._flushing.done():
            self._flushing.cancel()
            await asyncio.wait([self._flushing])

    async def _flush(self) -> None:
        while self._waiting:
            # Not cancelled half way: a batch is either written or still waiting.
            await asyncio.shield(self._write(ended=False))
            await asyncio.sleep(LINGER)

    async def _write(self, *, ended: bool) -> None:
        async with self._in_order:
            events, self._waiting = self._waiting, []
            if not events:
                return
            keys, argv = _arguments(
                self._thread_id,
                self._run_id,
                events,
                ended=ended,
                attempt=self._attempt,
            )
            try:
                if await self._append(keys=keys, args=argv) is None:
                    self._is_closed = True  # Overtaken.
            except (RedisError, OSError) as exc:
                lost, self._has_lost = len(events), True
                logger.warning(
                    "run %s: %d events were not written: %s", self._run_id, lost, exc
                )
