"""Messages between web processes, over Redis.

A client's answer to a question, and its cancellation of a call, are separate requests,
which any web process may receive. That process stores the payload under a key that only
the caller of both requests can compute, and publishes the key. Changes of assistants are
published, too, for clients that subscribe to the list of tools.

All waiting calls and listeners of an event loop share one subscription to Redis, which
is opened at first use.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, cast

from django.conf import settings
from redis.exceptions import RedisError

from spool.database.redis import cancel, circuit_breaker
from spool.runs.streaming.events import new_async_redis, redis_client

logger = logging.getLogger(__name__)

# Pause before reconnecting to Redis, in seconds.
RECONNECT_DELAY_SECS = 0.5


def payload_key(*parts: str) -> str:
    """The key of a payload for one waiting call. The key doesn't reveal its parts."""
    digest = hashlib.sha256("\0".join(parts).encode(errors="surrogatepass")).hexdigest()
    return f"{settings.REDIS_KEY_PREFIX}spool:mcp:{digest}"


class Signals:
    """The signals of one event loop."""

    def __init__(self) -> None:
        self._redis = new_async_redis()
        self._waiting: dict[str, asyncio.Future[bytes]] = {}
        self._listeners: set[Callable[[], None]] = set()
        self._listening: asyncio.Task[None] | None = None
        self._fetching: set[asyncio.Task[None]] = set()

    async def leave(self, key: str, payload: bytes, *, keep_secs: int) -> None:
        """Store a payload for the call that waits for `key`. Raises `RedisError`."""
        async with self._redis.pipeline(transaction=True) as pipeline:
            pipeline.set(key, payload, ex=keep_secs)
            pipeline.publish(_payloads(), key)
            await pipeline.execute()

    @contextmanager
    def expecting(self, key: str) -> Iterator[asyncio.Future[bytes]]:
        """Give a future for the payload under `key`. Payloads stored earlier count."""
        loop = asyncio.get_running_loop()
        self._waiting[key] = payload = loop.create_future()
        self._start()
        self._fetch([key])  # It may have been stored before.
        try:
            yield payload
        finally:
            del self._waiting[key]
            payload.cancel()

    @contextmanager
    def listening(self, listener: Callable[[], None]) -> Iterator[None]:
        """Call `listener` whenever assistants have changed, or may have changed."""
        self._listeners.add(listener)
        self._start()
        try:
            yield
        finally:
            self._listeners.discard(listener)

    async def close(self) -> None:
        await cancel([*self._fetching, *filter(None, [self._listening])])
        await self._redis.aclose()

    def _start(self) -> None:
        if self._listening is None:
            self._listening = asyncio.create_task(self._listen())

    async def _listen(self) -> None:
        while True:
            try:
                await self._receive()
            except (RedisError, OSError) as exc:
                logger.warning("redis: %s; reconnecting", exc)
            await asyncio.sleep(RECONNECT_DELAY_SECS)

    async def _receive(self) -> None:
        async with self._redis.pubsub() as pubsub:
            await pubsub.subscribe(_payloads(), _changes())
            while True:
                message: Any = await pubsub.get_message(timeout=None)
                if message is None:
                    continue
                if message["type"] == "subscribe":
                    # Messages published before the subscription are missed.
                    self._fetch(list(self._waiting))
                    self._call_listeners()
                elif message["channel"].decode() == _changes():
                    self._call_listeners()
                elif (key := message["data"].decode()) in self._waiting:
                    self._fetch([key])

    def _call_listeners(self) -> None:
        for listener in list(self._listeners):
            listener()

    def _fetch(self, keys: list[str]) -> None:
        if keys:
            task = asyncio.create_task(self._deliver(keys))
            self._fetching.add(task)
            task.add_done_callback(self._fetching.discard)

    async def _deliver(self, keys: list[str]) -> None:
        # If Redis is unavailable, they are fetched once it is back.
        with suppress(RedisError, OSError):
            payloads = await self._redis.mget(keys)
            for key, payload in zip(keys, payloads, strict=True):
                waiting = self._waiting.get(key)
                if payload is not None and waiting and not waiting.done():
                    waiting.set_result(cast("bytes", payload))


def publish_change() -> None:
    """Publish a change of assistants. Fills the hook `assistants.hooks.changed`."""
    try:
        with circuit_breaker():
            redis_client().publish(_changes(), b"")
    except RedisError as exc:  # Clients also list the tools again at times.
        logger.warning("could not publish a change of assistants: %s", exc)


def _payloads() -> str:
    return f"{settings.REDIS_KEY_PREFIX}spool:mcp:payloads"


def _changes() -> str:
    return f"{settings.REDIS_KEY_PREFIX}spool:assistants"


_signals: dict[asyncio.AbstractEventLoop, Signals] = {}


def signals() -> Signals:
    """The signals of the running event loop."""
    loop = asyncio.get_running_loop()
    if loop not in _signals:
        _signals[loop] = Signals()
    return _signals[loop]


async def close_signals() -> None:
    if found := _signals.pop(asyncio.get_running_loop(), None):
        await found.close()
