"""Graphs that are being made for runs, which their factories may take long over."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Coroutine
from typing import Any, TypeVar
from uuid import UUID

T = TypeVar("T")


class NotBuilt(Exception):
    """A graph was not made in the time that there was for it."""


class BuildTimeouts:
    """How long the graphs of one loop's runs may still take."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._limits: dict[UUID, asyncio.Timeout] = {}

    async def wait(
        self, run_id: UUID, made: Coroutine[Any, Any, T], *, timeout: float
    ) -> T:
        """What is `made` within `timeout` seconds. Raises `NotBuilt`."""
        limit = self._limits[run_id] = asyncio.timeout(
            None if timeout == math.inf else timeout
        )
        try:
            async with limit:
                return await made
        except Exception as exc:
            # Also what a factory makes of being cancelled.
            if limit.expired():
                raise NotBuilt from exc
            raise
        finally:
            del self._limits[run_id]

    def shorten(self, run_id: UUID, timeout: float) -> None:
        """Let the graph of a run be made within that time, from any thread."""
        self._loop.call_soon_threadsafe(self._shorten, run_id, timeout)

    def _shorten(self, run_id: UUID, timeout: float) -> None:
        limit = self._limits.get(run_id)
        if limit and not limit.expired():
            soon = self._loop.time() + timeout
            limit.reschedule(min(limit.when() or soon, soon))


def is_cancelled() -> bool:
    """Whether somebody else than its own code wants the running task to end."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
