"""The end of a run from Postgres, for viewers that join before it is published."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from spool.database.loop import Loop
from spool.runs.models import Run
from spool.runs.streaming import events, run_stream
from spool.runs.streaming.fanout import close_fanout
from spool.runs.streaming.run_stream import NEVER, RunStream
from spool.runs.streaming.script_calls import ScriptCalls
from spool.runs.streaming.writer import EventWriter

pytestmark = pytest.mark.django_db(transaction=True)


def test_who_comes_back_with_the_id_of_a_made_end_is_told_nothing_twice(
    make_run: Callable[..., Run], loop: Loop
) -> None:
    run = make_run(stream_mode=["values"], stream_resumable=True)
    Run.objects.filter(pk=run.pk).update(status="success")

    async def view(after: tuple[int, int]) -> list[events.Event]:
        stream = RunStream(run.thread_id, run.id, after=after, with_ids=True)
        found = [one async for batch in run_stream._follow(stream) for one in batch]
        await close_fanout()
        return found

    async def write() -> None:
        client = events.new_async_redis()
        ids: Any = {"thread_id": run.thread_id, "run_id": run.id}
        writer = EventWriter(ScriptCalls(client), **ids)
        writer.emit("metadata", {"attempt": 1})
        await writer.settle()
        await client.aclose()

    loop.run(write())
    first = loop.run(view(NEVER))
    again = loop.run(view(first[-1].id))

    assert [event.name for event in first] == ["metadata", "values", "end"]
    assert [event.name for event in again] == ["values", "end"]
