"""Events that Redis loses or refuses are written again, within the writer's bound."""

from __future__ import annotations

import asyncio
import gc
import json
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import pytest
import redis.asyncio
from django.conf import LazySettings
from redis.exceptions import OutOfMemoryError

from spool.database.ids import uuid7
from spool.runs.streaming import events, run_stream, thread_stream
from spool.runs.streaming.events import Event, stream_key
from spool.runs.streaming.fanout import Fanout
from spool.runs.streaming.run_stream import NEVER, RunStream
from spool.runs.streaming.script_calls import ScriptCalls
from spool.runs.streaming.thread_stream import ThreadStream
from spool.runs.streaming.writer import EventWriter, last_events, publish_end
from spool.tests.live import WAIT_SECS

pytestmark = pytest.mark.django_db(transaction=True)


class Writing:
    """One thread's stream, the writer of a run's events, and the events in Redis."""

    def __init__(self, client: redis.asyncio.Redis) -> None:
        self.client = client
        self.thread_id, self.run_id = uuid7(), uuid7()
        self.writer = self.attempt(1)

    def attempt(self, number: int) -> EventWriter:
        return EventWriter(
            ScriptCalls(self.client),
            thread_id=self.thread_id,
            run_id=self.run_id,
            attempt=number,
            generation=7,
        )

    async def emit(self, *words: str) -> None:
        for word in words:
            self.writer.emit("custom", word)
            await self.written()

    async def written(self) -> None:
        assert self.writer._flushing
        await self.writer._flushing

    async def close(self) -> None:
        await self.writer.settle()
        await self.writer.close((events.END, "success"))

    async def kept(self) -> list[Event]:
        entries: Any = await self.client.xrange(stream_key(self.thread_id))
        return [e for entry in entries for e in events.decode_entry(*entry)]

    async def lose(self) -> None:
        await self.client.unlink(stream_key(self.thread_id))


@pytest.fixture
async def writing() -> AsyncIterator[Writing]:
    client = events.new_async_redis()
    yield Writing(client)
    await client.aclose()


@pytest.fixture
async def fanout(
    monkeypatch: pytest.MonkeyPatch, settings: LazySettings
) -> AsyncIterator[Fanout]:
    # A check of Postgres would find that the runs, which are not stored, are over.
    settings.STREAM_HEARTBEAT_SECS = 600
    fanout = Fanout()
    monkeypatch.setattr(run_stream, "fanout", lambda: fanout)
    monkeypatch.setattr(thread_stream, "fanout", lambda: fanout)
    yield fanout
    await fanout.close()


def words(kept: list[Event]) -> list[str]:
    return [json.loads(event.data) for event in kept]


async def test_what_redis_forgot_is_written_again_under_the_same_ids(
    writing: Writing,
) -> None:
    await writing.emit("a", "b", "c")
    before = await writing.kept()

    await writing.lose()
    await writing.emit("d")

    after = await writing.kept()
    assert after[:3] == before
    assert words(after) == ["a", "b", "c", "d"]


async def test_a_silent_run_finds_out_what_redis_forgot(
    writing: Writing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("spool.runs.streaming.writer.CHECK_SECS", 0.05)
    await writing.emit("a", "b")

    await writing.lose()

    async with asyncio.timeout(WAIT_SECS):
        while words(await writing.kept()) != ["a", "b"]:
            await asyncio.sleep(0.01)
    await writing.close()


async def test_an_older_copy_of_the_stream_is_made_whole(writing: Writing) -> None:
    """After a crash, Redis restarts from an older snapshot."""
    await writing.emit("a", "b")
    saved: Any = await writing.client.xrange(stream_key(writing.thread_id))
    await writing.emit("c")
    before = await writing.kept()

    await writing.lose()
    entry_id, fields = saved[0]
    await writing.client.xadd(stream_key(writing.thread_id), fields, id=entry_id)
    other = uuid7()
    publish_end(writing.thread_id, other, "interrupted", generation=7)
    await writing.emit("d")

    after = await writing.kept()
    assert after[:3] == before
    [(_, end)] = last_events("interrupted", None)
    assert words(after) == ["a", "b", "c", end, "d"]


async def test_a_batch_whose_answer_was_lost_is_written_once(
    writing: Writing, monkeypatch: pytest.MonkeyPatch
) -> None:
    append: Any = writing.writer._call
    is_cut_off = [False, True, False, True]

    async def cut_off(*arguments: Any) -> Any:
        found = await append(*arguments)
        if is_cut_off and is_cut_off.pop(0):
            raise redis.asyncio.ConnectionError("cut off")
        return found

    writing.writer._call = cut_off  # type: ignore[assignment]
    await writing.emit("a", "b", "c")
    await writing.close()

    assert words(await writing.kept()) == ["a", "b", "c", "success"]


async def test_what_redis_had_no_room_for_is_written_once_it_has(
    writing: Writing,
) -> None:
    append: Any = writing.writer._call
    is_full = True

    async def refuse(*arguments: Any) -> Any:
        if is_full:
            raise OutOfMemoryError("command not allowed")
        return await append(*arguments)

    writing.writer._call = refuse  # type: ignore[assignment]
    for word in "abc":
        writing.writer.emit("custom", word)
    await asyncio.sleep(0.1)
    is_full = False
    await writing.written()
    await writing.close()

    assert words(await writing.kept()) == ["a", "b", "c", "success"]


async def test_a_write_that_fails_after_the_run_has_ended_is_not_logged(
    writing: Writing, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Redis may hang for longer than the end of a run waits for it."""
    monkeypatch.setattr("spool.runs.streaming.writer.CLOSE_TIMEOUT_SECS", 0.01)
    logged: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, it: logged.append(it))
    times_out = asyncio.Event()

    async def hang(*arguments: Any) -> Any:
        await times_out.wait()
        raise redis.exceptions.TimeoutError

    writing.writer._call = hang  # type: ignore[assignment]
    writing.writer.emit("custom", "a")
    await writing.writer.close((events.END, "success"))
    times_out.set()
    others = asyncio.all_tasks() - {asyncio.current_task()}
    await asyncio.wait(others)
    del others
    gc.collect()

    assert logged == []


async def viewed(stream: RunStream) -> list[tuple[str, Any]]:
    text = b"".join([part async for part in run_stream.sse(stream)]).decode()
    found = []
    for block in text.split("\r\n\r\n"):
        lines = dict(line.split(": ", 1) for line in block.split("\r\n") if line)
        if "event" in lines:
            found.append((lines["event"], json.loads(lines["data"])))
    return found


async def test_viewers_are_told_of_what_could_not_be_kept(
    writing: Writing, fanout: Fanout, settings: LazySettings
) -> None:
    settings.STREAM_BUFFER_BYTES = 30
    await writing.emit("first", "second", "third", "fourth", "fifth")
    ids = [event.id for event in await writing.kept()]

    await writing.lose()
    await writing.close()

    seen = await viewed(RunStream(writing.thread_id, writing.run_id, after=ids[1]))
    gap, *rest = seen
    assert gap == ("gap", {"from": shown(ids[1]), "to": shown(ids[2])})
    assert rest == [("custom", "fourth"), ("custom", "fifth"), ("end", None)]


async def test_viewers_are_told_of_what_was_never_written(
    writing: Writing, fanout: Fanout, settings: LazySettings
) -> None:
    settings.STREAM_BUFFER_BYTES = 40
    await writing.emit("first")
    for number in range(9):
        writing.writer.emit("custom", f"number {number}")
    await writing.close()

    seen = await viewed(RunStream(writing.thread_id, writing.run_id))

    names = [name for name, _ in seen]
    assert names == ["custom", "gap", "custom", "custom", "end"]
    assert [data for name, data in seen if name == "custom"] == [
        "first",
        "number 7",
        "number 8",
    ]


async def test_viewers_are_told_where_the_earlier_attempts_events_are_gone(
    writing: Writing, fanout: Fanout
) -> None:
    await writing.emit("first")
    [event] = await writing.kept()
    await writing.writer.drop()
    await writing.lose()

    writing.writer = writing.attempt(2)
    await writing.emit("second")
    await writing.close()

    seen = await viewed(RunStream(writing.thread_id, writing.run_id, after=event.id))
    assert [name for name, _ in seen] == ["gap", "custom", "end"]


def shown(event_id: tuple[int, int]) -> str:
    return f"{event_id[0]}-{event_id[1]}"


async def test_viewers_who_watch_meanwhile_miss_nothing_and_get_nothing_twice(
    writing: Writing, fanout: Fanout
) -> None:
    stream = RunStream(writing.thread_id, writing.run_id, is_new=True)
    viewing = [asyncio.create_task(viewed(stream)) for _ in range(50)]
    await asyncio.sleep(0.2)
    for number in range(30):
        await writing.emit(str(number))
        if number % 7 == 3:
            await writing.lose()
        if number % 7 == 5:
            connection: Any = fanout._pubsub.connection
            await connection.disconnect()
    await writing.close()

    expected = [*[("custom", str(number)) for number in range(30)], ("end", None)]
    assert all(seen == expected for seen in await asyncio.gather(*viewing))


async def test_events_of_an_earlier_thread_with_the_same_id_are_not_shown(
    writing: Writing, fanout: Fanout
) -> None:
    seen = thread_stream.sse(ThreadStream(writing.thread_id, 8, NEVER))
    next_part = asyncio.ensure_future(anext(seen))
    await asyncio.sleep(0.1)

    await writing.emit("of the earlier one")
    later = EventWriter(
        ScriptCalls(writing.client),
        thread_id=writing.thread_id,
        run_id=uuid7(),
        generation=8,
    )
    later.emit("custom", "of this one")
    part = await next_part
    await writing.emit("too late")
    kept = words(await writing.kept())
    await later.drop()
    await seen.aclose()

    assert b"earlier" not in part
    assert b"of this one" in part
    assert kept == ["of this one"]


async def test_a_worker_that_was_away_asks_before_it_publishes(
    writing: Writing,
) -> None:
    async def is_held() -> bool:
        return False

    writing.writer._is_held = is_held
    await writing.emit("late")

    assert await writing.kept() == []


@pytest.mark.parametrize(
    ("name", "value"), [("STREAM_MAX_EVENTS", 5), ("STREAM_MAX_BYTES", 300)]
)
async def test_a_thread_keeps_so_much_and_no_more(
    writing: Writing, settings: LazySettings, name: str, value: int
) -> None:
    setattr(settings, name, value)
    await writing.emit(*map(str, range(20)))
    await writing.close()

    kept = words(await writing.kept())
    assert kept[-3:] == ["18", "19", "success"]
    assert 4 <= len(kept) <= 6


async def test_what_ended_long_ago_goes_when_the_next_run_begins(
    writing: Writing, settings: LazySettings
) -> None:
    settings.RESUMABLE_STREAM_TTL_SECONDS = 1
    await writing.emit("first")
    await writing.close()
    await asyncio.sleep(0.7)
    later = Writing(writing.client)
    later.thread_id = writing.thread_id
    later.writer = later.attempt(1)
    await later.emit("second")
    await asyncio.sleep(0.5)
    await later.close()

    last = Writing(writing.client)
    last.thread_id = writing.thread_id
    last.writer = last.attempt(1)
    await last.emit("third")

    assert words(await writing.kept()) == ["second", "success", "third"]


async def test_nothing_is_kept_of_a_deleted_run(writing: Writing) -> None:
    other = uuid7()
    await writing.emit("first")
    await asyncio.to_thread(
        publish_end, writing.thread_id, other, "interrupted", generation=7
    )

    await asyncio.to_thread(events.remove, writing.thread_id, writing.run_id)

    assert {UUID(event.run_id) for event in await writing.kept()} == {other}
