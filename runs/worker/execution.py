"""A run that is being executed, and how to stop it."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field
from typing import Any

from django.conf import settings

from spool.runs.lifecycle import Claim
from spool.runs.models import Run

logger = logging.getLogger(__name__)

HAND_BACK = "hand back"

# How often a node is cancelled, and how long it may take to stop each time.
CANCEL_ATTEMPTS = 3
CANCEL_TIMEOUT_SECS = 5.0


@dataclass
class Execution:
    """A run that this process executes now, and how to stop it."""

    held: Claim
    task: asyncio.Task[Any]
    loop: asyncio.AbstractEventLoop
    # Why it was stopped: a `Run.CancelAction`, `Run.OVER_BUDGET` or `HAND_BACK`. None
    # if it was not stopped.
    stopped: str | None = None
    # Done once the graph has stopped, or has ignored all cancellations.
    stopping: asyncio.Future[None] = field(init=False)
    _cancelling: asyncio.Task[None] | None = None

    def __post_init__(self) -> None:
        self.stopping = self.loop.create_future()

    def stop(self, reason: str) -> None:
        """Stop the run, from any thread. A rollback overrides an earlier reason."""
        self.loop.call_soon_threadsafe(self._stop, reason)

    def _stop(self, reason: str) -> None:
        first = self.stopped is None
        if first or reason == Run.CancelAction.ROLLBACK:
            self.stopped = reason
        if first:
            self._cancelling = asyncio.ensure_future(self._cancel())

    async def _cancel(self) -> None:
        await _cancel(self.task)
        self.stopping.set_result(None)

    async def comes_to_an_end(self) -> bool:
        """Wait until the run has finished or was stopped. False if it timed out."""
        ends: list[asyncio.Future[Any]] = [self.task, self.stopping]
        first = asyncio.FIRST_COMPLETED
        timeout = settings.BG_JOB_TIMEOUT_SECS or None
        await asyncio.wait(ends, timeout=timeout, return_when=first)
        if self.task.done():
            return True
        if self.stopped is None:
            await _cancel(self.task)
            return False
        await asyncio.wait(ends, return_when=first)
        return True


async def _cancel(task: asyncio.Task[Any]) -> None:
    """Cancel a task, repeatedly if a node swallows it; then rely on the fence."""
    for _ in range(CANCEL_ATTEMPTS):
        task.cancel()
        done, _ = await asyncio.wait([task], timeout=CANCEL_TIMEOUT_SECS)
        if done:
            return
    logger.error("%s does not stop; its writes will be refused", task.get_name())
    task.add_done_callback(_ignore)


def _ignore(task: asyncio.Task[Any]) -> None:
    """Retrieve the exception of a graph that ended after its run, so none is logged."""
    if not task.cancelled():
        task.exception()
