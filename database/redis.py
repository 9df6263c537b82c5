"""A Redis that hangs: who has waited for it in vain spares those who come next.

For what threads ask of it that others want too. Without this, each of them would wait
for the whole of `REDIS_TIMEOUT_SECS`, one after another.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from django.conf import settings
from kombu.exceptions import KombuError
from redis.exceptions import RedisError

# How long nobody asks it again, in seconds.
SILENCE = 5.0
# Who waited for less was not kept waiting: some have a limit of their own.
MIN_WAIT_SECS = 0.5

_silent_until = 0.0


class RedisHangs(RedisError):
    """It has kept somebody waiting just now, and was not asked."""


@contextmanager
def circuit_breaker() -> Iterator[None]:
    """Around whatever asks Redis. Raises `RedisHangs` instead, for a while."""
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
    """Ask it again at once."""
    global _silent_until
    _silent_until = 0.0
