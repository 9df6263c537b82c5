"""Retries while Postgres is away: what counts as away, and how long it is retried."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

from psycopg import InterfaceError, OperationalError, errors
from psycopg_pool import PoolTimeout

from spool.database.loop import Pool

logger = logging.getLogger(__name__)

T = TypeVar("T")

# What a broken connection raises, as opposed to a statement that Postgres refuses.
CONNECTION_FAULTS = (OperationalError, InterfaceError, PoolTimeout)
# Of the same class, but no better at the next try: what is written is too much.
NO_ROOM = (errors.ProgramLimitExceeded, errors.StatementTooComplex)

# How long an operation outlasts a Postgres that is restarting, in seconds.
RETRY_DELAYS = (0.05, 0.2, 0.5, 1, 2, 4)
# Pause between the retries of what must be done in the end.
RETRY_PAUSE_SECS = 1.0


async def retry(pool: Pool, attempt: Callable[[], Awaitable[T]]) -> T:
    """Retry while Postgres restarts (`RETRY_DELAYS`), then raise what it raised.

    Only for what changes nothing when it is done twice.
    """
    for delay in RETRY_DELAYS:
        try:
            return await attempt()
        except NO_ROOM:
            raise
        except CONNECTION_FAULTS:
            await asyncio.sleep(delay)
            # Those that wait in the pool have died with it: not a try for each.
            await pool.check()
    return await attempt()


async def retry_until_available(move: Callable[[], Awaitable[T]]) -> T:
    """Retry however long Postgres stays away. Raises what Postgres refuses."""
    while True:
        try:
            return await move()
        except NO_ROOM:
            raise
        except CONNECTION_FAULTS as exc:
            logger.warning("Postgres is away, retrying: %s", exc)
            await asyncio.sleep(RETRY_PAUSE_SECS)
