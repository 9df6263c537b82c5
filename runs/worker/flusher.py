"""Writes the records of one loop's runs, together with the ends of the runs or before.

A short run has one write, with its end. Steps and usage of longer runs are written for
all runs of the loop at once, at most `FLUSH_SECS` after they happened.
"""

from __future__ import annotations

import asyncio
import logging
from contextvars import Context
from dataclasses import asdict
from typing import Any
from uuid import UUID

from spool.database.json import jsonb
from spool.database.pool import Pool
from spool.database.retries import CONNECTION_FAULTS
from spool.runs import record
from spool.runs.lifecycle import Claim
from spool.runs.record import Record, StepRecord
from spool.runs.worker.recorder import Recorder
from spool.usage.meter import Meter

logger = logging.getLogger(__name__)

# The delay until records are written, in seconds. `kill -9` may lose the records of
# twice this time.
FLUSH_SECS = 0.5
# Pause after a flush that failed.
RETRY_SECS = 1.0


class Flusher:
    """The recorders of one event loop."""

    def __init__(self, pool: Pool, meter: Meter) -> None:
        self._pool = pool
        self._meter = meter
        self._loop = asyncio.get_running_loop()
        self._recorders: set[Recorder] = set()
        # Recorders of ended attempts that still have records to write.
        self._released: set[Recorder] = set()
        # Whether a flush has been scheduled, or is running.
        self._is_coming = False
        self._flushing: asyncio.Task[None] | None = None

    def record(self, held: Claim) -> Recorder:
        recorder = Recorder(held, self._meter, self.soon)
        self._recorders.add(recorder)
        return recorder

    def refuse_models(self, run_id: UUID) -> None:
        for recorder in list(self._recorders):
            if recorder.held.id == run_id:
                recorder.refuse_models()

    def release(self, recorder: Recorder) -> None:
        """Forget a recorder whose attempt is over, once all its records are written."""
        self._recorders.discard(recorder)
        if recorder.steps:
            self._released.add(recorder)
            self.soon()

    def last(self, recorder: Recorder) -> Record:
        """The record to write with the end of the attempt."""
        attempt = recorder.finish()
        usage = self._meter.unwritten(recorder.keys)
        return Record(attempt, recorder.steps, usage)

    def written(self, recorder: Recorder, written: Record) -> None:
        recorder.written(written.steps)
        self._meter.written(written.usage)

    def soon(self) -> None:
        """Schedule a flush within `FLUSH_SECS`. Any thread may call this."""
        if not self._is_coming:
            self._is_coming = True
            self._loop.call_soon_threadsafe(self._schedule, FLUSH_SECS)

    def _schedule(self, delay: float) -> None:
        # In an empty context: that of the calling run would keep the run's input in
        # memory until the next flush.
        self._loop.call_later(delay, self._start, context=Context())

    def _start(self) -> None:
        self._flushing = self._loop.create_task(self._flush(), name="flush records")

    async def _flush(self) -> None:
        self._is_coming = False
        recorders = self._recorders | self._released
        found = {recorder: recorder.steps for recorder in recorders}
        usage = self._meter.unwritten()
        steps = [
            _row(recorder.held, step)
            for recorder, done in found.items()
            for step in done
        ]
        if not steps and not usage:
            return
        params = {
            "steps": jsonb(steps),
            "usage": jsonb([reading.as_json() for reading in usage]),
        }
        try:
            await self._pool.fetch_one(record.FLUSH, params)
        except CONNECTION_FAULTS as exc:
            logger.warning("could not write records, retrying: %s", exc)
            self._is_coming = True
            self._schedule(RETRY_SECS)
            return
        self._meter.written(usage)
        for recorder, done in found.items():
            recorder.written(done)
        self._released -= found.keys()


def _row(held: Claim, step: StepRecord) -> dict[str, Any]:
    return {"run_id": held.id, "attempt": held.attempt, **asdict(step)}
