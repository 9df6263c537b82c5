"""A run's events: written by its worker, kept in Redis for a while, read by viewers.

A thread has one Redis stream; its runs follow one another in it. An entry is a batch
of events of one run; what a viewer calls an event's id is `<ms>-<n>`, by Redis's clock,
and the entry's own id is that of its last event. Each batch is also published, so that
viewers get it without asking. Postgres holds the truth: losing all of this loses none.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any
from uuid import UUID

import redis
import redis.asyncio
from django.conf import settings
from redis.exceptions import RedisError

from spool.database.json import loads
from spool.database.redis import patience
from spool.runs.streaming import scripts

logger = logging.getLogger(__name__)

# Told to viewers by `event:`; the others are stream modes. The data of END is for us
# alone, see `last_events`.
METADATA = "metadata"
ERROR = "error"
END = "end"
# In the place of what Redis has lost for good: `{"from": id, "to": id}`, the last event
# that the viewer has, and the last one that is missing.
GAP = "gap"

# Redis counts both halves of an id in 64 bits.
_LAST_ID = 2**64 - 1


@dataclass(frozen=True, slots=True)
class Event:
    """One event as viewers get it; `id` orders all events of a thread."""

    run_id: str
    id: tuple[int, int]
    name: str
    data: bytes
    # The run's event before this one, where it is told: of the first in a batch.
    previous: tuple[int, int] | None = None
    # Which of the threads that had this id, one after another; see `generation`.
    generation: int = 0

    def sse(self, *, with_id: bool) -> bytes:
        """The official server's framing: CRLF, and the id last."""
        data = b"null" if self.name == END else self.data
        end = b"\r\nid: %d-%d\r\n\r\n" % self.id if with_id else b"\r\n\r\n"
        return b"event: %s\r\ndata: %s%s" % (self.name.encode(), data, end)


def stream_key(thread_id: UUID | str) -> str:
    return f"{settings.REDIS_KEY_PREFIX}spool:thread:{thread_id}:events"


def channel(thread_id: UUID | str) -> str:
    return f"{settings.REDIS_KEY_PREFIX}spool:thread:{thread_id}"


def generation(created_at: datetime) -> int:
    """What tells a thread from later ones with its id: when it was created, in µs."""
    return round(created_at.timestamp() * 1_000_000)


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

    A later thread with such an id has nothing to do with them.
    """
    if not thread_ids:
        return
    try:
        with patience(), redis_client().pipeline(transaction=False) as pipeline:
            pipeline.unlink(*map(stream_key, thread_ids))
            for thread_id in thread_ids:
                pipeline.publish(channel(thread_id), scripts.GONE)
            pipeline.execute()
    except RedisError as exc:
        logger.warning("events of deleted threads were not deleted: %s", exc)


def remove(thread_id: UUID, run_id: UUID) -> None:
    """Keep nothing of a run that was deleted."""
    try:
        with patience():
            script = redis_client().register_script(scripts.REMOVE)
            script(keys=[stream_key(thread_id)], args=[str(run_id)])
    except RedisError as exc:
        logger.warning("run %s: its events were not deleted: %s", run_id, exc)


def encode(run_id: UUID | str, events: Iterable[tuple[str, bytes]]) -> bytes:
    """A batch: the run's id, then a name and compact JSON for each event, by lines."""
    lines = [str(run_id).encode()]
    for name, data in events:
        lines += [name.replace("\n", " ").encode(), data]
    return b"\n".join(lines)


def decode(
    first: tuple[int, int],
    batch: bytes,
    previous: tuple[int, int] | None = None,
    generation: int = 0,
) -> Iterator[Event]:
    run_id, *lines = batch.split(b"\n")
    ms, seq = first
    for index in range(0, len(lines), 2):
        event_id, before = (ms, seq + index // 2), None if index else previous
        name, data = lines[index].decode(), lines[index + 1]
        yield Event(run_id.decode(), event_id, name, data, before, generation)


def decode_published(message: bytes) -> list[Event]:
    """The events of a batch as it is published."""
    head, _, batch = message.partition(b"\n")
    first, *rest = head.decode().split(" ")
    previous, told = (parse_id(rest[0]), int(rest[1])) if rest else (None, 0)
    return list(decode(parse_id(first), batch, previous, told))


def decode_entry(entry_id: bytes, fields: Mapping[bytes, bytes]) -> Iterator[Event]:
    """The events of an entry of the stream."""
    ms, last = parse_id(entry_id.decode())
    first = ms, last - int(fields[b"n"]) + 1
    before = fields.get(b"p")
    previous = parse_id(before.decode()) if before else None
    yield from decode(first, fields[b"e"], previous, int(fields.get(b"g", 0)))


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


def end_of(event: Event) -> dict[str, Any]:
    """What an END says, also one of the version before, which said the status alone."""
    said = loads(event.data)
    return said if isinstance(said, dict) else {"status": said}
