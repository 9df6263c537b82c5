"""Event numbers of a thread: each is used once, by any writer and after any crash."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from threading import Barrier
from typing import Any
from uuid import UUID

import pytest

from spool.database.ids import uuid7
from spool.database.loop import Loop
from spool.runs import lifecycle
from spool.runs.lifecycle import SEQS_OF_ATTEMPT, Outcome
from spool.runs.models import Run, Worker
from spool.runs.streaming import events
from spool.runs.streaming.events import kept_events
from spool.runs.streaming.script_calls import ScriptCalls
from spool.runs.streaming.scripts import SEQ_JUMP
from spool.runs.streaming.writer import EventWriter, publish_end
from spool.runs.tests.executing import Here
from spool.threads.models import Thread

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("agents"),
]


def numbers(thread_id: UUID) -> list[int]:
    return [event.seq for event in kept_events(thread_id)]


def lose(thread_id: UUID) -> None:
    events.redis_client().delete(events.stream_key(thread_id))


class Attempt:
    """An attempt that publishes one word at a time."""

    def __init__(self, loop: Loop, thread_id: UUID, **known: Any) -> None:
        self._loop = loop
        self.client = events.new_async_redis()
        given = {"thread_id": thread_id, "run_id": uuid7(), **known}
        self.writer = EventWriter(ScriptCalls(self.client), **given)

    def tell(self, *words: str) -> None:
        async def write() -> None:
            for word in words:
                self.writer._add("custom", word.encode())
            await self.writer._write()

        self._loop.run(write())

    def close(self) -> None:
        self._loop.run(self.client.aclose())


@pytest.fixture
def attempt(loop: Loop) -> Any:
    begun: list[Attempt] = []

    def begin(thread_id: UUID, **known: Any) -> Attempt:
        begun.append(Attempt(loop, thread_id, **known))
        return begun[-1]

    yield begin
    for one in begun:
        one.close()


def test_all_that_publish_count_together(attempt: Callable[..., Attempt]) -> None:
    thread_id = uuid7()
    first, second = attempt(thread_id), attempt(thread_id)

    first.tell("1", "2")
    second.tell("3")
    publish_end(thread_id, uuid7(), "success", generation=0)
    first.tell("5", "6")

    assert numbers(thread_id) == [1, 2, 3, 4, 5, 6]
    assert events.newest_seq(thread_id) == first.writer.used_seq == 6


def test_ends_that_are_published_at_once_have_numbers_of_their_own() -> None:
    thread_id, together = uuid7(), Barrier(8)

    def publish() -> None:
        together.wait()
        publish_end(
            thread_id, uuid7(), "error", {"error": "E", "message": ""}, generation=0
        )

    with ThreadPoolExecutor(8) as threads:
        for done in [threads.submit(publish) for _ in range(8)]:
            done.result()

    assert numbers(thread_id) == list(range(1, 17))


def test_an_end_is_told_again_only_where_it_is_not_known() -> None:
    thread_id, run_id = uuid7(), uuid7()

    for _ in range(3):
        publish_end(thread_id, run_id, "success", generation=0)

    assert numbers(thread_id) == [1]


def test_what_is_written_again_has_its_number(
    attempt: Callable[..., Attempt],
) -> None:
    thread_id = uuid7()
    one = attempt(thread_id)
    one.tell("1", "2")

    lose(thread_id)
    one.tell("3")

    assert numbers(thread_id) == [1, 2, 3]


def test_after_a_loss_numbers_jump_once(attempt: Callable[..., Attempt]) -> None:
    thread_id = uuid7()
    first = attempt(thread_id)
    first.tell("1", "2")

    lose(thread_id)
    second = attempt(thread_id, used_seq=2)
    second.tell("3")
    second.tell("4")

    assert numbers(thread_id) == [SEQ_JUMP + 3, SEQ_JUMP + 4]


def test_an_attempt_goes_on_above_all_that_one_before_it_may_have_used(
    attempt: Callable[..., Attempt],
    make: Callable[..., Run],
    loop: Loop,
    worker: Worker,
) -> None:
    first = loop.run(lifecycle.claim(loop.pool, make().id, worker.id))
    assert first
    second = replace(first, event_seq=7, attempt=2)

    one = attempt(first.thread_id, used_seq=second.used_seq, attempt=2)
    one.tell("1")

    assert (first.used_seq, second.used_seq) == (0, 7 + SEQS_OF_ATTEMPT)
    # An attempt that finds no events of the one before it leaves a gap for them.
    assert numbers(first.thread_id) == [second.used_seq + SEQ_JUMP + 1]


def test_postgres_knows_how_far_runs_came(
    here: Here, make: Callable[..., Run], thread: Thread, tmp_path: Any
) -> None:
    (tmp_path / "go").touch()

    here.execute(make("steps"))
    first = numbers(thread.id)
    thread.refresh_from_db()
    known = thread.event_seq
    lose(thread.id)
    here.execute(make("steps"))

    assert first == list(range(1, len(first) + 1))
    assert known == first[-1]
    assert min(numbers(thread.id)) > max(first)


def test_an_end_that_no_worker_writes_leaves_room_for_the_attempt(
    make: Callable[..., Run], thread: Thread
) -> None:
    pending, lost = make(), make()

    lifecycle.end_here(pending, Outcome("interrupted", settles=False))
    thread.refresh_from_db()
    after_pending = thread.event_seq
    Run.objects.filter(pk=lost.pk).update(attempt=1)
    lost.refresh_from_db()
    ended = lifecycle.end_here(lost, Outcome("error", {"error": "E", "message": ""}))

    assert after_pending == 1
    assert ended
    assert ended.event_seq == 1 + SEQS_OF_ATTEMPT + 1


def test_the_place_of_a_number_is_found(attempt: Callable[..., Attempt]) -> None:
    thread_id = uuid7()
    one = attempt(thread_id)
    for number in range(200):
        one.tell(str(number), "x")

    async def find(seq: int) -> events.Place:
        return await events.find_place(one.client, thread_id, seq)

    kept = list(kept_events(thread_id))
    for seq in (0, 1, 2, 3, 150, 399, 400, 9999):
        place = one._loop.run(find(seq))
        later = [event.seq for event in kept if event.id > place.after]
        assert set(range(seq + 1, 401)) <= set(later)
        assert len(later) <= 401 - seq or seq > 400
        assert (place.oldest_seq, place.newest_seq) == (1, 400)
