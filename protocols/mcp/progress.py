"""Follow a run to its end, and report its progress.

Each node that ends is a step. A graph can report its own progress in its stream:
`get_stream_writer()({"progress": 3, "total": 10, "message": "reading"})`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, TypeGuard

from spool.database.json import loads
from spool.protocols.mcp.calls import Started
from spool.runs.streaming.events import Event
from spool.runs.streaming.run_stream import RunStream
from spool.runs.streaming.run_stream import follow as follow_run

Report = Callable[[float, float | None, str | None], Awaitable[None]]


@dataclass
class Progress:
    """The progress of a run. It only increases, as MCP requires."""

    done: float = -1  # Nothing yet.
    total: float | None = None
    message: str | None = None

    def take(self, event: Event) -> bool:
        """Update the progress from an event. Return whether it has increased."""
        name = event.name.partition("|")[0]
        if name not in ("updates", "custom"):
            return False
        said = loads(event.data)
        if not isinstance(said, dict):
            return False
        return self._take_step(said) if name == "updates" else self._take_report(said)

    def _take_step(self, update: dict[str, Any]) -> bool:
        nodes = [node for node in update if not node.startswith("__")]
        if self.total is not None or not nodes:
            return False  # The graph reports its own progress, or has stopped.
        self.done = max(self.done, 0) + len(nodes)
        self.message = ", ".join(nodes)
        return True

    def _take_report(self, said: dict[str, Any]) -> bool:
        done, total, message = (
            said.get(name) for name in ("progress", "total", "message")
        )
        if not _is_number(done) or done <= self.done:
            return False
        self.done = done
        self.total = total if _is_number(total) else None
        self.message = message if isinstance(message, str) else None
        return True


async def follow(started: Started, report: Report | None) -> None:
    """Wait until the run has ended. Calls `report`, if any, with its progress."""
    progress = Progress()
    stream = RunStream(
        started.thread_id, started.run_id, after=started.after, is_new=True
    )
    async with aclosing(follow_run(stream)) as batches:
        async for batch in batches:
            for event in batch:
                if report and progress.take(event):
                    await report(progress.done, progress.total, progress.message)


def _is_number(given: Any) -> TypeGuard[float]:
    return isinstance(given, (int, float)) and not isinstance(given, bool)
