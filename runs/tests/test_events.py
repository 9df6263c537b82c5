"""The events that Redis keeps for viewers, and how viewers get them."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
import redis
from django.conf import LazySettings, settings
from django.db.models.functions import Now

from spool.database.ids import uuid7
from spool.database.loop import Loop
from spool.runs import lifecycle, services
from spool.runs.models import Run, Worker
from spool.runs.streaming import events, run_stream, scripts, thread_stream
from spool.runs.streaming.batches import Batch, append_arguments
from spool.runs.streaming.events import Event
from spool.runs.streaming.fanout import Fanout, active_runs
from spool.runs.streaming.script_calls import ScriptCalls
from spool.runs.streaming.thread_stream import ThreadStream
from spool.runs.streaming.viewer import Viewer
from spool.runs.streaming.writer import EventWriter, publish_end
from spool.tests.live import WAIT_SECS, wait_until

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
async def fanout(
    settings: LazySettings, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Fanout]:
    """The fan-out whose viewers `run_stream` reads."""
    # A check of Postgres would find that the runs, mostly not stored, have ended.
    settings.STREAM_HEARTBEAT_SECS = 600
    before = asyncio.all_tasks()
    fanout = Fanout()
    monkeypatch.setattr(run_stream, "fanout", lambda: fanout)
    yield fanout
    left = asyncio.all_tasks() - before - {asyncio.current_task()}
    for task in left:
        task.cancel()
    await asyncio.gather(*left, return_exceptions=True)
    await fanout.close()


def test_the_end_of_a_waiting_run_leaves_the_writer_the_running_one(
    make_run: Any, thread: Any, loop: Loop, worker: Worker
) -> None:
    running, waiting = make_run(), make_run()
    loop.run(lifecycle.claim(loop.pool, running.id, worker.id))

    async def emit() -> None:
        client = events.new_async_redis()
        writer = EventWriter(
            ScriptCalls(client), thread_id=thread.id, run_id=running.id
        )
        writer.emit("values", {"x": 1})
        await writer._flushing  # type: ignore[misc]
        await client.aclose()

    loop.run(emit())
    before: Any = events.redis_client().ttl(events.stream_key(thread.id))

    services.cancel_run(waiting, "interrupt")

    after: Any = events.redis_client().ttl(events.stream_key(thread.id))
    assert before > settings.RESUMABLE_STREAM_TTL_SECONDS
    assert after > settings.RESUMABLE_STREAM_TTL_SECONDS


async def test_the_first_two_viewers_share_one_reader(fanout: Fanout) -> None:
    async def view() -> None:
        async with fanout.watch(uuid7()):
            await asyncio.sleep(0.3)

    before = asyncio.all_tasks()
    viewing = [asyncio.create_task(view()) for _ in range(2)]
    await asyncio.sleep(0.2)
    started = [
        task
        for task in asyncio.all_tasks() - before
        if "_listen" in repr(task.get_coro())
    ]
    await asyncio.gather(*viewing)

    assert len(started) == 1


async def test_it_is_closed_even_if_a_cancellation_is_swallowed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The Redis client does so, depending on where it is cancelled."""
    fanout, swallowed = Fanout(), asyncio.Event()
    receive = fanout._receive

    async def receive_again() -> None:
        try:
            await receive()
        except asyncio.CancelledError:
            if swallowed.is_set():
                raise
            swallowed.set()
            await receive()

    monkeypatch.setattr(fanout, "_receive", receive_again)
    async with fanout.watch(uuid7()):
        pass

    async with asyncio.timeout(WAIT_SECS):
        await fanout.close()

    assert swallowed.is_set()
    assert all(task.cancelled() for task in fanout._tasks)


def test_a_run_counts_as_over_once_its_end_can_have_arrived(
    make_run: Any,
) -> None:
    going_on, ended, over = [make_run() for _ in range(3)]
    ended_at = [
        (ended, Now() + timedelta(minutes=1)),
        (over, Now() - timedelta(seconds=4)),
    ]
    for run, moment in ended_at:
        Run.objects.filter(pk=run.pk).update(status="success", ended_at=moment)

    asked = {going_on.pk, ended.pk, over.pk, uuid7()}

    assert active_runs(asked) == {going_on.pk, ended.pk}


def append(thread_id: UUID, run_id: UUID, *batches: bytes) -> None:
    """Write batches as a worker does, each with one event."""
    client = redis.Redis.from_url(settings.REDIS_URL)
    for data in batches:
        batch = Batch(0, 1, events.encode(run_id, [("values", data)]))
        argv = append_arguments(thread_id, run_id, batch, 1, "", 0)
        client.eval(scripts.APPEND, 1, events.stream_key(thread_id), *argv)
    client.close()


def publish_success(thread_id: UUID, run_id: UUID) -> None:
    publish_end(thread_id, run_id, "success", generation=0, has_begun=True)


async def seen(viewer: Viewer, last: tuple[int, int], count: int) -> list[Event]:
    """The next `count` events after `last`, or more."""
    found: list[Event] = []
    clock = asyncio.get_running_loop().time
    async with asyncio.timeout(WAIT_SECS):
        while len(found) < count:
            found += await run_stream.next_events(viewer, last, clock() + 0.1)
            last = found[-1].id if found else last
    return found


async def test_a_viewer_that_takes_nothing_holds_little_and_misses_nothing(
    fanout: Fanout, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("spool.runs.streaming.viewer.MAX_WAITING", 300)
    monkeypatch.setattr("spool.runs.streaming.fanout.PAGE", 3)
    thread_id, run_id = uuid7(), uuid7()
    batches = [b'"%d%s"' % (number, b"x" * 100) for number in range(20)]

    async with fanout.watch(thread_id, run_id) as viewer:
        first = await run_stream.next_events(viewer, run_stream.NEVER, 0)
        append(thread_id, run_id, *batches)
        async with asyncio.timeout(WAIT_SECS):
            while not viewer._overflows:
                await asyncio.sleep(0.01)
        waiting = sum(len(batch) for batch in viewer._batches)
        found = await seen(viewer, run_stream.NEVER, 20)

    assert first == []
    assert 0 < waiting < 5
    assert [event.data for event in found] == batches


async def test_what_is_kept_of_a_run_that_is_over_is_read_to_its_end(
    fanout: Fanout, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("spool.runs.streaming.fanout.PAGE", 3)
    thread_id, run_id = uuid7(), uuid7()
    append(thread_id, run_id, *[b"%d" % number for number in range(10)])

    stream = run_stream.RunStream(thread_id, run_id)
    text = b"".join([part async for part in run_stream.sse(stream)]).decode()

    told = [line for line in text.split("\r\n") if line.startswith("data: ")]
    assert told == [*[f"data: {number}" for number in range(10)], "data: null"]


async def test_what_comes_while_a_joiner_asks_whether_the_run_is_over_is_told(
    fanout: Fanout, monkeypatch: pytest.MonkeyPatch
) -> None:
    thread_id, run_id = uuid7(), uuid7()
    is_over = run_stream._is_over

    def then_ends(asked: UUID) -> bool:
        append(thread_id, run_id, b"1")
        [viewer] = fanout._viewers[events.channel(thread_id)]
        wait_until(lambda: viewer._batches, pause=0.01)
        return is_over(asked)

    monkeypatch.setattr(run_stream, "_is_over", then_ends)

    stream = run_stream.RunStream(thread_id, run_id, after=None)
    text = b"".join([part async for part in run_stream.sse(stream)]).decode()

    assert text.startswith("event: values\r\ndata: 1\r\n")


async def test_a_viewer_misses_nothing_while_redis_is_connected_again(
    fanout: Fanout,
) -> None:
    thread_id, run_id = uuid7(), uuid7()

    async with fanout.watch(thread_id, run_id) as viewer:
        append(thread_id, run_id, b"1")
        before = await seen(viewer, run_stream.NEVER, 1)
        connection: Any = fanout._pubsub.connection
        await connection.disconnect()
        append(thread_id, run_id, b"2")
        meanwhile = await seen(viewer, before[-1].id, 1)
        append(thread_id, run_id, b"3")
        after = await seen(viewer, meanwhile[-1].id, 1)

    assert [event.data for event in before + meanwhile + after] == [b"1", b"2", b"3"]


async def test_a_read_back_that_failed_is_tried_again(
    fanout: Fanout, monkeypatch: pytest.MonkeyPatch
) -> None:
    thread_id, run_id = uuid7(), uuid7()
    append(thread_id, run_id, b"1")
    read_back = fanout.read_back
    answers: list[Any] = [None]

    async def away_once(*args: Any) -> Any:
        return answers.pop() if answers else await read_back(*args)

    monkeypatch.setattr(fanout, "read_back", away_once)
    async with fanout.watch(thread_id, run_id) as viewer:
        clock = asyncio.get_running_loop().time
        first = await run_stream.next_events(viewer, (0, 0), clock() + 0.2)
        second = await run_stream.next_events(viewer, (0, 0), clock() + 0.2)

    assert [event.data for event in first + second] == [b"1"]


async def test_events_after_missing_ones_are_kept_if_the_stream_is_deleted(
    fanout: Fanout,
) -> None:
    thread_id, run_id = uuid7(), uuid7()
    async with fanout.watch(thread_id, run_id) as viewer:
        append(thread_id, run_id, b"1")
        before = await seen(viewer, run_stream.NEVER, 1)
        events.remove(thread_id, run_id)
        publish_success(thread_id, run_id)
        async with asyncio.timeout(WAIT_SECS):
            while not viewer._batches:
                await asyncio.sleep(0.01)
        events.redis_client().delete(events.stream_key(thread_id))
        after = await seen(viewer, before[-1].id, 2)

    assert [event.name for event in after] == [events.GAP, events.END]


async def test_a_redis_that_hangs_is_not_waited_for_one_by_one(settings: Any) -> None:
    hears_nothing = asyncio.Event()

    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await hears_nothing.wait()
        writer.close()

    server = await asyncio.start_server(hang, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    settings.REDIS_URL = f"redis://127.0.0.1:{port}"
    settings.REDIS_TIMEOUT_SECS = 1
    fanout = Fanout()

    async def view() -> None:
        async with fanout.watch(uuid7()):
            pass

    # Each would wait for a second.
    async with asyncio.timeout(WAIT_SECS):
        await asyncio.gather(*(view() for _ in range(2 * WAIT_SECS)))

    for task in fanout._tasks:
        task.cancel()
    await asyncio.gather(*fanout._tasks, return_exceptions=True)
    hears_nothing.set()
    server.close()
    await fanout.redis.aclose()


@pytest.mark.parametrize("others", [0, 1])
async def test_a_viewer_may_leave_at_any_moment(fanout: Fanout, others: int) -> None:
    left: list[int] = []

    def view(steps: int) -> asyncio.Task[None]:
        stream = run_stream.RunStream(
            uuid7(), uuid7(), is_new=True, on_disconnect=lambda: left.append(steps)
        )

        async def read() -> None:
            async for _ in run_stream.sse(stream):
                pass

        return asyncio.create_task(read())

    staying = [view(0) for _ in range(others)]
    await asyncio.sleep(0.2 * others)
    for steps in range(1, 25):
        viewing = view(steps)
        for _ in range(steps):
            await asyncio.sleep(0)
        viewing.cancel()
        done, _ = await asyncio.wait([viewing], timeout=WAIT_SECS)
        assert done, f"it stays after {steps} steps"

    assert left == list(range(1, 25))
    assert not any(one.done() for one in staying)


async def test_what_comes_behind_a_gap_waits_until_the_gap_is_closed() -> None:
    viewer = Viewer(uuid7(), uuid7())
    viewer.has_gap = False
    later = Event(str(uuid7()), (2, 0), "values", b"2")
    waiting = asyncio.create_task(viewer.batches(10))
    await asyncio.sleep(0)

    viewer.wake()  # As on a new connection, with the next event queued after it.
    viewer.push([later], 1)
    first = await waiting
    viewer.has_gap = False  # The missing events have been read.
    second = await viewer.batches(10)

    assert (first, second) == ([], [later])


async def test_the_first_events_are_sent_before_a_graph_can_hold_up_the_loop(
    thread: Any,
) -> None:
    client = events.new_async_redis()
    writer = EventWriter(ScriptCalls(client), thread_id=thread.id, run_id=uuid7())
    # Otherwise Redis, if it has just started, asks for the script.
    events.redis_client().script_load(scripts.APPEND)

    await writer.begin((events.METADATA, {"attempt": 1}))
    # This blocks the loop, as a graph does that computes.
    kept: Any = {events.stream_key(thread.id): "0"}
    found = events.redis_client().xread(kept, block=1000 * WAIT_SECS)

    assert found
    await writer.drop()
    await client.aclose()


async def test_a_redis_that_hangs_does_not_hold_up_a_run(
    thread: Any, settings: Any
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        settings.REDIS_TIMEOUT_SECS = 2 * WAIT_SECS
        settings.REDIS_URL = f"redis://127.0.0.1:{listening.getsockname()[1]}"
        client = events.new_async_redis()
        writer = EventWriter(ScriptCalls(client), thread_id=thread.id, run_id=uuid7())

        async with asyncio.timeout(WAIT_SECS):
            await writer.begin((events.METADATA, {"attempt": 1}))

    await writer.drop()
    await client.aclose()


async def test_a_slow_write_is_not_cut_off_by_the_end(thread: Any) -> None:
    run_id, client = uuid7(), events.new_async_redis()
    writer = EventWriter(ScriptCalls(client), thread_id=thread.id, run_id=run_id)
    append_now: Any = writer._call

    async def late(*arguments: Any) -> Any:
        await asyncio.sleep(0.2)
        return await append_now(*arguments)

    writer._call = late  # type: ignore[assignment]
    writer._waiting.append(("values", b"1"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("spool.runs.streaming.writer.SETTLE_TIMEOUT_SECS", 0.05)
        await writer.settle()
    await writer.close((events.END, "success"))
    entries: Any = await client.xrange(events.stream_key(thread.id))
    await client.aclose()

    told = [fields[b"e"].split(b"\n")[1] for _, fields in entries]
    assert told == [b"values", b"end"]


@pytest.mark.parametrize("worker_was_first", [False, True])
async def test_a_deleted_threads_viewer_hears_the_end_of_its_run(
    fanout: Fanout, monkeypatch: pytest.MonkeyPatch, worker_was_first: bool
) -> None:
    monkeypatch.setattr("spool.runs.streaming.thread_stream.fanout", lambda: fanout)
    thread_id, run_id = uuid7(), uuid7()
    append(thread_id, run_id, b"1")
    seen = thread_stream.sse(ThreadStream(thread_id, 0, run_stream.NEVER))
    first = await anext(seen)
    [viewer] = fanout._viewers[events.channel(thread_id)]

    if worker_was_first:  # It removes the events of its deleted run.
        await asyncio.to_thread(events.remove, thread_id, run_id)
    await asyncio.to_thread(publish_success, thread_id, run_id)
    await asyncio.to_thread(events.forget, [thread_id])
    async with asyncio.timeout(WAIT_SECS):
        while not viewer.is_gone:
            await asyncio.sleep(0.01)
    rest = b"".join([part async for part in seen])

    assert b"event: values" in first
    assert b'"status":"run_done"' in rest


def test_one_who_waits_for_a_redis_that_hangs_spares_the_others(
    settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []

    def hang(listening: socket.socket) -> None:
        with suppress(OSError):
            while True:
                asked.append(listening.accept())

    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=hang, args=[listening], daemon=True).start()
        settings.REDIS_TIMEOUT_SECS = 0.2
        port, url = listening.getsockname()[1], settings.REDIS_URL
        # A separate client for this test, as each process has its own. Nothing else of
        # this process, such as the fan-out of a test before, is to connect there.
        settings.REDIS_URL = f"redis://127.0.0.1:{port}"
        client = events.redis_client.__wrapped__()
        settings.REDIS_URL = url
        monkeypatch.setattr(events, "redis_client", lambda: client)
        monkeypatch.setattr("spool.database.redis.BREAKER_OPEN_SECS", 600.0)
        found = [events.newest_id(uuid7()) for _ in range(5)]
        events.signal_stop(uuid7(), "interrupt")
        publish_success(uuid7(), uuid7())
        events.forget([uuid7()])
        client.close()

    assert found == [None] * 5
    assert len(asked) == 1
