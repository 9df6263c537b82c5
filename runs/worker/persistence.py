"""Moves that must be made, however long Postgres stays away."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

from spool.database.retries import CONNECTION_FAULTS, NO_ROOM

logger = logging.getLogger(__name__)

T = TypeVar("T")

# Pause, in seconds, before a move is tried again that Postgres could not take.
INSIST_DELAY = 1.0


async def insist(move: Callable[[], Awaitable[T]]) -> T:
    """Make a move at last. Raises what Postgres has against it, if it is there."""
    while True:
        try:
            return await move()
        except NO_ROOM:
            raise
        except CONNECTION_FAULTS as exc:
            logger.warning("Postgres is away, trying again: %s", exc)
            await asyncio.sleep(INSIST_DELAY)
