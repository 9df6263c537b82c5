"""Events of an attempt that has been overtaken by another one are not published."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest

from spool.database.ids import uuid7
from spool.database.loop import Loop
from spool.runs.streaming import events
from spool.runs.streaming.script_calls import ScriptCalls
from spool.runs.streaming.writer import EventWriter, publish_end
from spool.runs.tests.executing import told as told_of

pytestmark = pytest.mark.django_db(transaction=True)


class Told:
    """The stream of a thread, and the attempts that write to it."""

    def __init__(self, loop: Loop) -> None:
        self.thread_id = uuid7()
        self._loop = loop

    def tell(self, run_id: UUID, attempt: int, *words: str, ends: bool = False) -> None:
        async def write() -> None:
            client = events.new_async_redis()
            ids: Any = {"thread_id": self.thread_id, "run_id": run_id}
            writer = EventWriter(ScriptCalls(client), **ids, attempt=attempt)
            for word in words:
                writer.emit("custom", word)
            await writer.settle()
            if ends:
                await writer.close((events.END, "success"))
            await client.aclose()

        self._loop.run(write())

    @property
    def words(self) -> list[str]:
        kept = told_of(self.thread_id)
        return [e.data.decode().strip('"') for e in kept if e.name == "custom"]


@pytest.fixture
def told(loop: Loop) -> Told:
    return Told(loop)


def test_an_attempt_tells_nothing_once_the_next_one_has_begun(told: Told) -> None:
    run_id = uuid7()
    told.tell(run_id, 1, "first")
    told.tell(run_id, 2, "second")

    told.tell(run_id, 1, "stale")
    told.tell(run_id, 3, "third")

    assert told.words == ["first", "second", "third"]


def test_nothing_is_told_of_a_run_that_is_over(told: Told) -> None:
    run_id = uuid7()
    told.tell(run_id, 2, "done", ends=True)

    told.tell(run_id, 1, "stale", ends=True)
    told.tell(run_id, 2, "late")

    assert told.words == ["done"]


def test_nothing_is_told_of_a_run_that_others_have_ended(told: Told) -> None:
    run_id = uuid7()
    told.tell(run_id, 1, "first")
    publish_end(told.thread_id, run_id, "error", {"error": "WorkerLost"}, generation=0)

    told.tell(run_id, 1, "stale")

    assert told.words == ["first"]


def test_the_next_run_of_a_thread_begins_with_its_first_attempt(told: Told) -> None:
    told.tell(uuid7(), 3, "earlier", ends=True)

    told.tell(uuid7(), 1, "later")

    assert told.words == ["earlier", "later"]
