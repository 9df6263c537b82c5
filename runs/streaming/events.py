"""A run's events: written by its worker, kept in Redis for a while, read by viewers.

A thread has one Redis stream, which contains its runs one after another. An entry is a
batch of events of one run. An event's id, which viewers see, is `<ms>-<n>` by Redis's
clock; the entry has the id of its last event. Events are also numbered: `seq` counts
all events of a thread, and no number is used twice. Each batch is also published, so
that viewers need not poll. Postgres is the source of truth: no result depends on Redis.
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
from spool.database.redis import circuit_breaker
from spool.runs.streaming import scripts

logger = logging.getLogger(__name__)

# Names of events besides stream modes. The data of END is internal, see `last_events`.
METADATA = "metadata"
ERROR = "error"
END = "end"
# Replaces events that Redis has lost for good. Its data is `{"from": id, "to": id}`:
# the last event that the viewer has, and the last one that is missing.
GAP = "gap"
# Prefixes of the names of event streaming's events: of events that viewers of runs get
# too, converted to the form of their stream mode, and of events that only subscribers
# get.
NORMALISED = "@"
SUBSCRIBERS_ONLY = "~"

# Sent to subscribers when a run begins that answers interrupts by their ids.
INPUT_ANSWERED = "input.answered"

# A batch begins with the id of its run.
RUN_ID_LENGTH = 36

# In Redis, both parts of an id have 64 bits.
_LAST_ID = 2**64 - 1


@dataclass(frozen=True, slots=True)
class Event:
    """One event as viewers get it.

    `id` orders all events of a thread, and `seq` counts them.
    """

    run_id: str
    id: tuple[int, int]
    name: str
    data: bytes
    # The run's event before this one; set for the first event of a batch.
    previous: tuple[int, int] | None = None
    # Distinguishes successive threads with the same id; see `generation`.
    generation: int = 0
    seq: int = 0
    graph_id: str = ""

    def sse(self, *, with_id: bool) -> bytes:
        """The official server's framing: CRLF, and the id last."""
        data = b"null" if self.name == END else self.data
        end = b"\r\nid: %d-%d\r\n\r\n" % self.id if with_id else b"\r\n\r\n"
        return b"event: %s\r\ndata: %s%s" % (self.name.encode(), data, end)


def stream_key(thread_id: UUID | str) -> str:
    return f"{settings.REDIS_KEY_PREFIX}spool:thread:{thread_id}:events"


def channel(thread_id: UUID | str) -> str:
    return f"{settings.REDIS_KEY_PREFIX}spool:thread:{thread_id}:batches"


def reply_channel(address: str) -> str:
    """The channel on which one web process gets the events of runs that it created."""
    return f"{settings.REDIS_KEY_PREFIX}spool:web:{address}"


def ends_channel() -> str:
    """The channel on which all web processes get ends of runs that no worker held."""
    return f"{settings.REDIS_KEY_PREFIX}spool:ends"


def older_channel(thread_id: UUID | str) -> str:
    """The channel on which web processes of 0.1.0 listen, needed during an upgrade."""
    return f"{settings.REDIS_KEY_PREFIX}spool:thread:{thread_id}"


def generation(created_at: datetime) -> int:
    """A thread's creation time in µs, which distinguishes later threads with its id."""
    return round(created_at.timestamp() * 1_000_000)


def control_channel() -> str:
    return f"{settings.REDIS_KEY_PREFIX}spool:stop"


def signal_stop(run_id: UUID, action: str) -> None:
    """Publish a request to stop a run to its worker. The run's row has it, too."""
    try:
        with circuit_breaker():
            redis_client().publish(control_channel(), f"{run_id} {action}")
    except RedisError as exc:
        logger.warning("run %s: could not signal its stop: %s", run_id, exc)


def stop_signals() -> Iterator[tuple[UUID, str]]:
    """Yield each published request to stop a run: its id and the action. Blocks."""
    client: Any = redis_client()
    with client.pubsub(ignore_subscribe_messages=True) as bus:
        bus.subscribe(control_channel())
        for message in bus.listen():
            run_id, _, action = message["data"].decode().partition(" ")
            yield UUID(run_id), action


def newest_id(thread_id: UUID) -> tuple[int, int] | None:
    """The id of a thread's last event: `(0, 0)` if none is kept, None without Redis."""
    try:
        with circuit_breaker():
            found: Any = redis_client().xrevrange(stream_key(thread_id), count=1)
    except RedisError:
        return None
    return parse_id(found[0][0].decode()) if found else (0, 0)


def forget(thread_ids: Sequence[UUID]) -> None:
    """Delete the events of deleted threads, and end the streams of their viewers.

    A later thread with the same id must not show their events.
    """
    if not thread_ids:
        return
    try:
        with circuit_breaker(), redis_client().pipeline(transaction=False) as pipeline:
            pipeline.unlink(*map(stream_key, thread_ids))
            for thread_id in thread_ids:
                for name in (channel(thread_id), older_channel(thread_id)):
                    pipeline.publish(name, scripts.GONE)
            pipeline.execute()
    except RedisError as exc:
        logger.warning("could not delete the events of deleted threads: %s", exc)


def remove(thread_id: UUID, run_id: UUID) -> None:
    """Remove the events of a deleted run."""
    try:
        with circuit_breaker():
            script = redis_client().register_script(scripts.REMOVE)
            script(keys=[stream_key(thread_id)], args=[str(run_id)])
    except RedisError as exc:
        logger.warning("run %s: could not delete its events: %s", run_id, exc)


def encode(run_id: UUID | str, events: Iterable[tuple[str, bytes]]) -> bytes:
    """Encode a batch as lines: the run's id, then each event's name and its JSON."""
    lines = [str(run_id).encode()]
    for name, data in events:
        lines += [name.replace("\n", " ").encode(), data]
    return b"\n".join(lines)


def decode(
    first: tuple[int, int],
    batch: bytes,
    previous: tuple[int, int] | None = None,
    generation: int = 0,
    last_seq: int = 0,
    graph_id: str = "",
) -> Iterator[Event]:
    """The events of a batch; `last_seq` is the number of the last of them."""
    head, *lines = batch.split(b"\n")
    run_id = head.decode()
    count = len(lines) // 2
    for index in range(count):
        yield Event(
            run_id,
            (first[0], first[1] + index),
            lines[2 * index].decode(),
            lines[2 * index + 1],
            None if index else previous,
            generation,
            last_seq - count + 1 + index,
            graph_id,
        )


def decode_published(message: bytes) -> list[Event]:
    """The events of a batch as it is published."""
    head, _, batch = message.partition(b"\n")
    first, previous, generation, last_seq, graph_id = head.decode().split(" ", 4)
    return list(
        decode(
            parse_id(first),
            batch,
            parse_id(previous),
            int(generation),
            int(last_seq),
            graph_id,
        )
    )


def run_of_reply(message: bytes) -> str:
    """The id of the run that a message on a reply channel is about."""
    _, _, batch = message.partition(b"\n")
    return batch[:RUN_ID_LENGTH].decode()


def decode_entry(entry_id: bytes, fields: Mapping[bytes, bytes]) -> Iterator[Event]:
    """The events of an entry of the stream."""
    ms, last = parse_id(entry_id.decode())
    first = ms, last - int(fields[b"n"]) + 1
    before = fields.get(b"p")
    previous = parse_id(before.decode()) if before else None
    generation, last_seq = (int(fields.get(name, 0)) for name in (b"g", b"s"))
    graph_id = fields.get(b"h", b"").decode()
    yield from decode(first, fields[b"e"], previous, generation, last_seq, graph_id)


@dataclass(frozen=True, slots=True)
class Place:
    """The position of an event number in a thread's stream, and the numbers kept.

    `begins` is the id of the run whose first event is the oldest kept event, or empty.
    """

    after: tuple[int, int]
    oldest_seq: int = 0
    newest_seq: int = 0
    begins: str = ""


async def find_place(client: redis.asyncio.Redis, thread_id: UUID, seq: int) -> Place:
    """Find the position after the events up to `seq`, without reading them."""
    script = client.register_script(scripts.FIND)
    found: list[bytes] = await script(keys=[stream_key(thread_id)], args=[seq])
    at, oldest, newest, begins = (part.decode() for part in found)
    after = parse_id(at) if at else (0, 0)
    return Place(after, int(oldest), int(newest), begins)


def kept_events(thread_id: UUID) -> Iterator[Event]:
    """All events of a thread that Redis has; none if it is unavailable."""
    try:
        with circuit_breaker():
            entries: Any = redis_client().xrange(stream_key(thread_id))
    except RedisError:
        return
    for entry_id, fields in entries:
        yield from decode_entry(entry_id, fields)


def newest_seq(thread_id: UUID) -> int:
    """The number of a thread's newest event in Redis; 0 if it is not known."""
    try:
        with circuit_breaker():
            found: Any = redis_client().xrevrange(stream_key(thread_id), count=1)
    except RedisError:
        return 0
    return int(found[0][1].get(b"s", 0)) if found else 0


def parse_id(text: str) -> tuple[int, int]:
    """Parse `<ms>-<n>`, or `<ms>` alone. Raises `ValueError`."""
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
    """A client for the running event loop."""
    return redis.asyncio.Redis.from_url(settings.REDIS_URL, **_options())


def _options() -> dict[str, Any]:
    return {
        "max_connections": settings.REDIS_MAX_CONNECTIONS,
        "socket_timeout": settings.REDIS_TIMEOUT_SECS,
        "socket_connect_timeout": settings.REDIS_TIMEOUT_SECS,
    }


def end_of(event: Event) -> dict[str, Any]:
    """The data of an END. The version before wrote only the status."""
    said = loads(event.data)
    return said if isinstance(said, dict) else {"status": said}


def lifecycle_of(
    status: str, error: Mapping[str, str] | None, *, is_paused: bool = False
) -> dict[str, Any]:
    """The lifecycle event of event streaming for the end of a run.

    A cancelled run is `failed`: this is the only status of the protocol that every
    client treats as an end, but not as a success.
    """
    if status == "success":
        return {"event": "interrupted" if is_paused else "completed"}
    if status == "error":
        error = error or {}
        said = (
            error.get("message") or error.get("error") or "An internal error occurred"
        )
        return {"event": "failed", "error": said}
    said = "The run timed out" if status == "timeout" else "The run was cancelled"
    return {"event": "failed", "error": said}
