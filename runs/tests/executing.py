"""Executes runs of the graphs of `executed.py` in this process."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

from django.db import connection, transaction

from spool.assistants.tests.served import forget_graphs
from spool.database.json import dumps
from spool.database.loop import Loop
from spool.runs.lifecycle import Ended
from spool.runs.models import Run, Worker
from spool.runs.streaming import events
from spool.runs.streaming.events import Event
from spool.runs.streaming.run_form import RunForm
from spool.runs.worker.executor import Executor
from spool.tests.live import wait_until
from spool.webhooks import addresses

CONFIG = Path(__file__).parent / "langgraph.json"
CHECKPOINT_TABLES = ("checkpoints", "checkpoint_blobs", "checkpoint_writes")
wait_for = partial(wait_until, pause=0.01)


def forget_config() -> None:
    forget_graphs()
    addresses.policy.cache_clear()


class Here:
    """A worker in this process. `start` executes a run in the background."""

    def __init__(self) -> None:
        self.loop = Loop(name="test", pool_size=10)
        self.row = Worker.objects.create(hostname="here", pid=1, capacity=10)
        self.executor = self.loop.run(self._new_executor())
        self._threads = ThreadPoolExecutor()

    async def _new_executor(self) -> Executor:
        redis = events.new_async_redis()
        return Executor(self.loop.pool, redis, lambda: self.row.id)

    def execute(self, run: Run) -> Ended | None:
        return self.loop.run(self.executor.execute(run.id))

    def start(self, run: Run) -> Future[Ended | None]:
        return self._threads.submit(self.execute, run)

    def start_next(self) -> Future[None]:
        """Execute the queued runs in the background."""
        return self._threads.submit(self.loop.run, self.executor.execute_all())

    def stop(self, run: Run, reason: str) -> None:
        self.executor.held_runs.executions[run.id].stop(reason)

    def close(self) -> None:
        self._threads.shutdown()
        self.loop.run(self.executor.redis.aclose())
        self.loop.close()


def begun(folder: Path) -> list[str]:
    file = folder / "begun"
    return file.read_text().split() if file.exists() else []


def told(thread_id: UUID) -> Iterator[Event]:
    """The events that viewers of the thread's runs receive."""
    form = RunForm()
    for event in events.kept_events(thread_id):
        if shown := form.of(event):
            yield shown


def published(thread_id: UUID) -> list[tuple[str, bytes]]:
    """The name and data of each of these events; for an end, the status."""
    return [
        (
            event.name,
            dumps(events.end_of(event)["status"])
            if event.name == events.END
            else event.data,
        )
        for event in told(thread_id)
    ]


def overtake(run: Run) -> None:
    """Do what the tick and another worker do while a run's worker hangs.

    A save that the first worker has started is finished by then, or never will be.
    """
    with transaction.atomic():
        Run.objects.select_for_update().get(pk=run.pk)
        Run.objects.filter(pk=run.pk).update(attempt=2)


def checkpoint_rows(thread_id: Any) -> int:
    with connection.cursor() as cursor:
        count = 0
        for table in CHECKPOINT_TABLES:
            cursor.execute(
                f"SELECT count(*) FROM {table} WHERE thread_id = %s",  # noqa: S608
                [str(thread_id)],
            )
            count += cursor.fetchone()[0]
        return count
