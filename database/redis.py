"""Handles failures of Redis and flaws of its client.

A circuit breaker, in case Redis hangs: after a timeout, requests fail at once for some
seconds. It is for requests in shared threads: without it, one after another would wait
for the whole `REDIS_TIMEOUT_SECS`.

Functions to cancel tasks that use the asynchronous client.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from django.conf import settings
from kombu.exceptions import KombuError
from redis.exceptions import RedisError

T = TypeVar("T")

# For how long requests fail at once after a timeout, in seconds.
BREAKER_OPEN_SECS = 5.0
# Failures after less than this are not timeouts. Some callers have shorter timeouts.
MIN_WAIT_SECS = 0.5
# After how long a task that does not end is cancelled again, in seconds.
CANCEL_AGAIN_SECS = 0.1

_silent_until = 0.0


class RedisHangs(RedisError):
    """A request was not sent, since an earlier one has just timed out."""


@contextmanager
def circuit_breaker() -> Iterator[None]:
    """Guard requests to Redis. Raises `RedisHangs` for a while after a timeout."""
    global _silent_until
    begun = time.monotonic()
    if begun < _silent_until:
        raise RedisHangs("it hangs, and gets no commands for some seconds")
    try:
        yield
    except (RedisError, KombuError, OSError):
        if time.monotonic() - begun >= min(settings.REDIS_TIMEOUT_SECS, MIN_WAIT_SECS):
            _silent_until = time.monotonic() + BREAKER_OPEN_SECS
        raise


def forget() -> None:
    """Close the circuit breaker, so that the next request is sent."""
    global _silent_until
    _silent_until = 0.0


async def cancel(tasks: Iterable[asyncio.Task[None]]) -> None:
    """Cancel these tasks repeatedly, until they have ended.

    The Redis client sometimes swallows a cancellation, and the task would continue.
    """
    left = set(tasks)
    while left:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=CANCEL_AGAIN_SECS)


async def undisturbed(calling: Awaitable[T]) -> T:
    """Finish a call to Redis even if the caller's task is cancelled.

    Otherwise the Redis client might swallow the cancellation, so that the task would
    continue, or close a connection that others share. If the call fails after its
    caller was cancelled, nothing is logged; `asyncio.shield` would log a traceback.
    """
    call = asyncio.ensure_future(calling)
    call.add_done_callback(lambda done: done.cancelled() or done.exception())
    return await asyncio.shield(call)
