"""Timeouts for building the graphs of runs, since factories may be slow."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Coroutine
from typing import Any, TypeVar
from uuid import UUID

T = TypeVar("T")


class NotBuilt(Exception):
    """A graph was not built within its timeout."""


class BuildTimeouts:
    """The build timeouts of the graphs of one loop's runs."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._limits: dict[UUID, asyncio.Timeout] = {}

    async def wait(
        self, run_id: UUID, made: Coroutine[Any, Any, T], *, timeout: float
    ) -> T:
        """Await `made` for at most `timeout` seconds. Raises `NotBuilt`."""
        limit = self._limits[run_id] = asyncio.timeout(
            None if timeout == math.inf else timeout
        )
        try:
            async with limit:
                return await made
        except Exception as exc:
            # A factory may turn the cancellation into another exception.
            if limit.expired():
                raise NotBuilt from exc
            raise
        finally:
            del self._limits[run_id]

    def shorten(self, run_id: UUID, timeout: float) -> None:
        """Shorten the build timeout of a run's graph, from any thread."""
        self._loop.call_soon_threadsafe(self._shorten, run_id, timeout)

    def _shorten(self, run_id: UUID, timeout: float) -> None:
        limit = self._limits.get(run_id)
        if limit and not limit.expired():
            soon = self._loop.time() + timeout
            limit.reschedule(min(limit.when() or soon, soon))


def is_cancelled() -> bool:
    """Whether the running task was cancelled from outside, not by its own code."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
