"""What breaks the connections of loops to Postgres, and how that is outlasted."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from psycopg import InterfaceError, OperationalError, errors
from psycopg_pool import PoolTimeout

from spool.database.loop import Pool

T = TypeVar("T")

# What a broken connection raises, as opposed to a statement that Postgres refuses.
CONNECTION_FAULTS = (OperationalError, InterfaceError, PoolTimeout)
# Of the same class, but no better at the next try: what is written is too much.
NO_ROOM = (errors.ProgramLimitExceeded, errors.StatementTooComplex)

# How long an operation outlasts a Postgres that is restarting, in seconds.
RETRY_DELAYS = (0.05, 0.2, 0.5, 1, 2, 4)


async def patiently(pool: Pool, attempt: Callable[[], Awaitable[T]]) -> T:
    """Try again while Postgres restarts, what changes nothing when it is done twice."""
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
