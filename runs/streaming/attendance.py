"""Whether a run's client is still there, for runs that end with it (`on_disconnect`).

The web process that serves the client keeps renewing a key in Redis. The worker checks
the key, so that it also notices if the web process dies together with the client.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from uuid import UUID

import redis.asyncio
from django.conf import settings
from redis.exceptions import RedisError

from spool.database.redis import undisturbed

# A client counts as gone after this many heartbeats of its stream without a renewal.
LEASE_BEATS = 3


def key(run_id: UUID | str) -> str:
    return f"{settings.REDIS_KEY_PREFIX}spool:run:{run_id}:attended"


def lease_secs() -> float:
    return LEASE_BEATS * float(settings.STREAM_HEARTBEAT_SECS)


@asynccontextmanager
async def attending(client: redis.asyncio.Redis, run_id: UUID) -> AsyncIterator[None]:
    """Keep renewing the key of the run's client until the context exits."""
    renewing = asyncio.create_task(_renew(client, run_id))
    try:
        yield
    finally:
        renewing.cancel()
        await asyncio.wait([renewing])


async def _renew(client: redis.asyncio.Redis, run_id: UUID) -> None:
    while True:
        with suppress(RedisError, OSError):
            renewal = client.set(key(run_id), 1, px=int(lease_secs() * 1000))
            await undisturbed(renewal)
        await asyncio.sleep(settings.STREAM_HEARTBEAT_SECS)


async def wait_until_gone(client: redis.asyncio.Redis, run_id: UUID) -> None:
    """Return once the run's client has been away for a whole lease.

    The lease starts again while Redis is unavailable. If Redis has lost the key, it is
    renewed long before the lease ends.
    """
    clock = asyncio.get_running_loop().time
    seen_at = clock()
    while clock() - seen_at < lease_secs():
        await asyncio.sleep(settings.STREAM_HEARTBEAT_SECS)
        try:
            if await client.exists(key(run_id)):
                seen_at = clock()
        except (RedisError, OSError):
            seen_at = clock()
