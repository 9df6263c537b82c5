"""A circuit breaker for a Redis that hangs: after a timeout, requests fail at once.

For requests in threads that are shared. Without it, each request would wait for the
whole `REDIS_TIMEOUT_SECS`, one after another.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from django.conf import settings
from kombu.exceptions import KombuError
from redis.exceptions import RedisError

# How long requests fail at once after a timeout, in seconds.
SILENCE = 5.0
# Failures after less than this are not timeouts. Some callers have shorter timeouts.
MIN_WAIT_SECS = 0.5

_silent_until = 0.0


class RedisHangs(RedisError):
    """A request was not sent, since an earlier one has just timed out."""


@contextmanager
def circuit_breaker() -> Iterator[None]:
    """Guards requests to Redis. Raises `RedisHangs` for a while after a timeout."""
    global _silent_until
    begun = time.monotonic()
    if begun < _silent_until:
        raise RedisHangs("it hangs, and is not asked for some seconds")
    try:
        yield
    except (RedisError, KombuError, OSError):
        if time.monotonic() - begun >= min(settings.REDIS_TIMEOUT_SECS, MIN_WAIT_SECS):
            _silent_until = time.monotonic() + SILENCE
        raise


def forget() -> None:
    """Close the circuit breaker, so that the next request is sent."""
    global _silent_until
    _silent_until = 0.0
