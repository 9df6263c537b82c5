"""Retries while Postgres is unavailable: which errors are retried, and for how long."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

from psycopg import InterfaceError, OperationalError, errors
from psycopg_pool import PoolTimeout

from spool.database.pool import Pool

logger = logging.getLogger(__name__)

T = TypeVar("T")

# Errors of a broken connection, as opposed to a statement that Postgres refuses.
CONNECTION_FAULTS = (OperationalError, InterfaceError, PoolTimeout)
# Subclasses of these that a retry can't fix, since the written value is too large.
NO_ROOM = (errors.ProgramLimitExceeded, errors.StatementTooComplex)

# Delays between retries while Postgres restarts, in seconds.
RETRY_DELAYS = (0.05, 0.2, 0.5, 1, 2, 4)
# Pause between retries of operations that must succeed in the end.
RETRY_PAUSE_SECS = 1.0


async def retry(pool: Pool, attempt: Callable[[], Awaitable[T]]) -> T:
    """Retry `attempt` while Postgres restarts (`RETRY_DELAYS`), then raise its error.

    Only for idempotent operations.
    """
    for delay in RETRY_DELAYS:
        try:
            return await attempt()
        except NO_ROOM:
            raise
        except CONNECTION_FAULTS:
            await asyncio.sleep(delay)
            # The pool's idle connections are broken too: replace them, to save retries.
            await pool.check()
    return await attempt()


async def retry_until_available(move: Callable[[], Awaitable[T]]) -> T:
    """Retry while Postgres is unavailable. Raises errors of the statement itself."""
    while True:
        try:
            return await move()
        except NO_ROOM:
            raise
        except CONNECTION_FAULTS as exc:
            logger.warning("Postgres is away, retrying: %s", exc)
            await asyncio.sleep(RETRY_PAUSE_SECS)
