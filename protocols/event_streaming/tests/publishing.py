"""Publishes events as a worker does."""

from __future__ import annotations

from typing import Any

from redis.asyncio import Redis

from spool.database.loop import Loop
from spool.runs.lifecycle import SEQS_OF_ATTEMPT
from spool.runs.models import Run
from spool.runs.streaming import events
from spool.runs.streaming.events import generation
from spool.runs.streaming.script_calls import ScriptCalls
from spool.runs.streaming.writer import EventWriter


def publish(loop: Loop, run: Run, attempt: int, *events_: tuple[str, Any]) -> None:
    """Publish events as the worker that executes this attempt of the run."""

    async def write() -> None:
        client = events.new_async_redis()
        writer = writer_of(run, client, attempt)
        for name, data in events_:
            writer.emit(name, data)
        await writer.settle()
        await client.aclose()

    loop.run(write())


def writer_of(run: Run, client: Redis, attempt: int = 1) -> EventWriter:
    return EventWriter(
        ScriptCalls(client),
        thread_id=run.thread_id,
        run_id=run.id,
        attempt=attempt,
        generation=generation(run.thread.created_at),
        graph_id=run.graph_id,
        used_seq=10 + (attempt - 1) * SEQS_OF_ATTEMPT,
    )
