"""Viewers read missed events in pages, not all into memory at once."""

from __future__ import annotations

from collections.abc import AsyncIterator
from uuid import UUID

import pytest

from spool.database.ids import uuid7
from spool.runs.streaming import events
from spool.runs.streaming.fanout import Fanout
from spool.runs.streaming.run_stream import NEVER
from spool.runs.streaming.script_calls import ScriptCalls
from spool.runs.streaming.viewer import MAX_WAITING
from spool.runs.streaming.writer import EventWriter


@pytest.fixture
async def fanout() -> AsyncIterator[Fanout]:
    fanout = Fanout()
    yield fanout
    await fanout.close()


async def write(thread_id: UUID, texts: list[str]) -> None:
    """Write each text as a separate entry."""
    client = events.new_async_redis()
    for text in texts:
        writer = EventWriter(ScriptCalls(client), thread_id=thread_id, run_id=uuid7())
        writer.emit("custom", text)
        await writer.settle()
    await client.aclose()


async def pages(fanout: Fanout, thread_id: UUID) -> list[list[str]]:
    found: list[list[str]] = []
    last, has_more = NEVER, True
    while has_more:
        page = await fanout.read_back(thread_id, last)
        assert page is not None
        kept, has_more = page
        found.append([event.data.decode().strip('"') for event in kept])
        last = kept[-1].id if kept else last
    return found


async def test_a_page_of_large_events_is_short(fanout: Fanout) -> None:
    thread_id, large = uuid7(), MAX_WAITING // 4
    texts = [f"{number:02}".ljust(large) for number in range(30)]
    await write(thread_id, texts)

    found = await pages(fanout, thread_id)

    assert [text for page in found for text in page] == texts
    assert max(map(len, found)) < 10


async def test_many_small_events_are_one_page(fanout: Fanout) -> None:
    thread_id = uuid7()
    texts = [str(number) for number in range(100)]
    await write(thread_id, texts)

    assert await pages(fanout, thread_id) == [texts]
