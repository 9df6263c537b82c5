"""Executes runs of graphs from a test module's own file in this process."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from spool.access.policy import EVERYTHING
from spool.assistants.tests.served import serving
from spool.database.loop import Loop
from spool.runs import services
from spool.runs.lifecycle import Ended
from spool.runs.models import Run, Worker
from spool.runs.run_request import AllowedRun
from spool.runs.serializers import parse_run_request
from spool.runs.streaming import events
from spool.runs.tests.executing import forget_config
from spool.runs.worker.executor import Executor
from spool.tests.live import WAIT_SECS
from spool.threads.models import Thread


@contextmanager
def served(folder: Path, file: str, *names: str) -> Iterator[None]:
    """A server with only the graphs of a file in this folder."""
    source = Path(__file__).with_name(file)
    config = folder / f"{source.stem}.json"
    config.write_text(json.dumps({"graphs": {n: f"{source}:{n}" for n in names}}))
    with serving(config, forget_config):
        yield


class Executing:
    """A worker whose graphs write to a folder when they begin."""

    def __init__(self, loop: Loop, worker: Worker, folder: Path) -> None:
        self.begun = folder / "begun"
        self._loop = loop
        self._threads = ThreadPoolExecutor()
        self.executor = loop.run(self._new_executor(worker))

    async def _new_executor(self, worker: Worker) -> Executor:
        redis = events.new_async_redis()
        return Executor(self._loop.pool, redis, lambda: worker.id)

    def start(
        self, graph: str, thread: Thread | None
    ) -> tuple[Run, Future[Ended | None]]:
        """Create a run, and execute it in the background."""
        config = {"configurable": {"folder": str(self.begun.parent)}}
        body = {"assistant_id": graph, "input": {"text": ""}, "config": config}
        thread_id = thread.id if thread else None
        run = services.create_run(
            AllowedRun(parse_run_request(body), EVERYTHING, thread_id)
        )
        executing = self.executor.execute(run.id)
        return run, self._threads.submit(self._loop.run, executing)

    def execute(self, graph: str, thread: Thread | None) -> Run:
        """Create a run and execute it to its end."""
        run, done = self.start(graph, thread)
        done.result(timeout=WAIT_SECS)
        run.refresh_from_db()
        return run

    def start_again(self, run: Run) -> Future[Ended | None]:
        """Execute a pending run in the background."""
        executing = self.executor.execute(run.id)
        return self._threads.submit(self._loop.run, executing)

    def execute_again(self, run: Run) -> None:
        self.start_again(run).result(timeout=WAIT_SECS)

    def close(self) -> None:
        # Blocked graphs wait for this file; see `spending`.
        (self.begun.parent / "go").touch()
        self._threads.shutdown()
        self._loop.run(self.executor.redis.aclose())
