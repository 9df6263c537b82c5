"""The channel of a web process, on which it gets the events of runs that it creates."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import pytest
from django.conf import LazySettings
from redis.exceptions import RedisError

from spool.database.ids import uuid7
from spool.database.redis import cancel, undisturbed
from spool.runs.models import Run
from spool.runs.run_request import RunKwargs
from spool.runs.serializers import run_json
from spool.runs.streaming import events, expected, fanout, run_stream
from spool.runs.streaming.events import Event
from spool.runs.streaming.fanout import Fanout
from spool.runs.streaming.run_stream import NEVER, next_events
from spool.runs.streaming.script_calls import ScriptCalls
from spool.runs.streaming.viewer import Viewer
from spool.runs.streaming.writer import EventWriter, publish_end
from spool.tests.live import WAIT_SECS
from spool.web.thread_pool import database_threads


@pytest.fixture
async def own(
    monkeypatch: pytest.MonkeyPatch, settings: LazySettings
) -> AsyncIterator[Fanout]:
    """A connected fan-out, whose background work does not disturb the tests."""
    settings.STREAM_HEARTBEAT_SECS = 600
    monkeypatch.setattr(fanout, "REPLY_TIMEOUT_SECS", 600.0)
    found = Fanout()
    monkeypatch.setattr(run_stream, "fanout", lambda: found)
    async with found.watch(uuid7()):
        async with asyncio.timeout(WAIT_SECS):
            while found.expect(uuid7()) is None:
                await asyncio.sleep(0.01)
        yield found
    await found.close()


class Running:
    """A run that publishes events, as its worker does."""

    def __init__(self, reply_to: str | None) -> None:
        self.thread_id, self.id = uuid7(), uuid7()
        self._client = events.new_async_redis()
        self._writer = EventWriter(
            ScriptCalls(self._client),
            thread_id=self.thread_id,
            run_id=self.id,
            reply_to=reply_to,
        )

    async def publish(self, *values: int) -> None:
        for value in values:
            self._writer.emit("values", value)
            await self._writer._flushing  # type: ignore[misc]

    async def end(self) -> None:
        await self._writer.close(("end", {"status": "success"}))
        await self._client.aclose()


def expect(own: Fanout, run_id: UUID) -> Viewer:
    viewer = own.expect(run_id)
    assert viewer
    return viewer


async def seen(
    viewer: Viewer, until: str = "end", last: tuple[int, int] = NEVER
) -> list[Event]:
    """The events after `last`, up to one with this data or name."""
    found: list[Event] = []
    clock = asyncio.get_running_loop().time
    async with asyncio.timeout(WAIT_SECS):
        while not found or until not in (found[-1].name, found[-1].data.decode()):
            last = found[-1].id if found else last
            found += await next_events(viewer, last, clock() + 0.1)
    return found


def data(found: list[Event]) -> list[bytes]:
    return [event.data for event in found if event.name == "values"]


async def test_the_creator_of_a_run_neither_subscribes_nor_reads(
    own: Fanout, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(own, "read_back", None)
    run = Running(own.address)
    viewer = expect(own, run.id)
    await run.publish(1)

    async with own.watch(run.thread_id, run.id, viewer):
        await run.publish(2, 3)
        await run.end()
        found = await seen(viewer)

    assert data(found) == [b"1", b"2", b"3"]
    assert events.channel(run.thread_id) not in own._confirmed


async def test_a_lost_connection_loses_no_event(own: Fanout) -> None:
    run = Running(own.address)
    viewer = expect(own, run.id)
    async with own.watch(run.thread_id, run.id, viewer):
        await run.publish(1)
        first = await seen(viewer, "1")
        await own.redis.client_kill_filter(_type="pubsub")
        await run.publish(2)
        await run.end()
        rest = await seen(viewer, last=first[-1].id)

    assert data(rest) == [b"2"]


async def test_events_that_are_published_before_it_watches_are_kept_for_a_while(
    own: Fanout, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, left = Running(own.address), uuid7()
    expect(own, left)
    monkeypatch.setattr(expected, "KEPT_SECS", -1.0)
    viewer = expect(own, run.id)
    viewer.has_begun = True

    own._expected.forget_abandoned()

    assert own._expected.find(left) is None
    assert own._expected.find(run.id) is viewer


async def test_events_of_a_worker_of_the_version_before_arrive_too(
    own: Fanout, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fanout, "REPLY_TIMEOUT_SECS", 0.05)
    run = Running(None)
    viewer = expect(own, run.id)
    async with own.watch(run.thread_id, run.id, viewer):
        await run.publish(1)
        first = await seen(viewer, "1")
        await run.publish(2)
        await run.end()
        rest = await seen(viewer, last=first[-1].id)

    assert data(first + rest) == [b"1", b"2"]


async def test_a_slow_run_is_watched_twice_until_it_answers(
    own: Fanout, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fanout, "REPLY_TIMEOUT_SECS", 0.0)
    run = Running(own.address)
    viewer = expect(own, run.id)
    name = events.channel(run.thread_id)
    async with own.watch(run.thread_id, run.id, viewer):
        async with asyncio.timeout(WAIT_SECS):
            while name not in own._confirmed or not own._confirmed[name].is_set():
                await asyncio.sleep(0.01)
        await run.publish(1, 2)
        await run.end()
        found = await seen(viewer)

        assert data(found) == [b"1", b"2"]
        assert name not in own._viewers


async def test_events_that_are_restored_are_read(own: Fanout) -> None:
    run = Running(own.address)
    viewer = expect(own, run.id)
    async with own.watch(run.thread_id, run.id, viewer):
        await run.publish(1)
        await own.redis.delete(events.stream_key(run.thread_id))
        await run.publish(2)
        await run.end()
        found = await seen(viewer)

    assert data(found) == [b"1", b"2"]


async def test_an_end_that_no_worker_publishes_arrives(own: Fanout) -> None:
    run_id, thread_id = uuid7(), uuid7()
    viewer = expect(own, run_id)
    async with own.watch(thread_id, run_id, viewer):
        await asyncio.to_thread(
            publish_end, thread_id, run_id, "interrupted", generation=0
        )
        found = await seen(viewer)

    assert [event.name for event in found] == ["end"]


async def test_a_call_that_fails_after_its_viewer_has_left_is_not_logged() -> None:
    logged: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(
        lambda _, what: logged.append(what)
    )
    may_fail = asyncio.Event()

    async def fail() -> None:
        await may_fail.wait()
        raise RedisError

    viewer = asyncio.create_task(undisturbed(fail()))
    await asyncio.sleep(0)
    await cancel([viewer])
    may_fail.set()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    gc.collect()

    assert logged == []


@pytest.mark.django_db(transaction=True)
async def test_a_run_that_is_not_stored_yet_has_not_ended(own: Fanout) -> None:
    run_id = uuid7()
    viewer = expect(own, run_id)

    await own._look_up(own._all_viewers())
    ends_before = set(viewer.over)
    async with own.watch(uuid7(), run_id, viewer):
        await own._look_up(own._all_viewers())

    assert ends_before == set()
    assert viewer.over == {run_id}


@pytest.mark.django_db(transaction=True)
async def test_an_end_that_is_never_published_is_found_in_postgres(
    own: Fanout, settings: Any
) -> None:
    settings.STREAM_HEARTBEAT_SECS = 0.05
    run_id = uuid7()
    viewer = expect(own, run_id)
    asking = asyncio.create_task(own._poll_postgres())
    async with own.watch(uuid7(), run_id, viewer), asyncio.timeout(WAIT_SECS):
        while run_id not in viewer.over:
            await asyncio.sleep(0.01)
    await cancel([asking])
    await asyncio.to_thread(database_threads.close)

    assert viewer.has_gap


@pytest.mark.django_db(transaction=True)
async def test_the_last_events_of_a_deleted_thread_are_waited_for(own: Fanout) -> None:
    async with own.watch(uuid7()) as viewer:
        await own._look_up({viewer})
        gone_at_first = viewer.is_gone
        await own._look_up({viewer})

    assert not gone_at_first
    assert viewer.is_gone


async def test_nothing_is_expected_without_a_connection(own: Fanout) -> None:
    own._is_connected = False

    assert own.expect(uuid7()) is None


def test_the_wire_does_not_show_the_address() -> None:
    kwargs = RunKwargs(reply_to="abc").as_json()
    run = Run(kwargs=kwargs)

    assert RunKwargs.from_json(run.kwargs).reply_to == "abc"
    assert "reply_to" not in run_json(run, ["kwargs"])["kwargs"]
