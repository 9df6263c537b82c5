"""What Redis keeps for viewers, and how they get it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import redis
from django.conf import settings

from config.ids import uuid7
from config.loop import Loop
from runs import events, lifecycle, services, streams
from runs.events import EventWriter
from runs.fanout import Fanout
from runs.models import Worker

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
async def fanout() -> AsyncIterator[Fanout]:
    before = asyncio.all_tasks()
    fanout = Fanout()
    yield fanout
    left = asyncio.all_tasks() - before - {asyncio.current_task()}
    for task in left:
        task.cancel()
    await asyncio.gather(*left, return_exceptions=True)
    await fanout._pubsub.aclose()  # type: ignore[no-untyped-call]
    await fanout.redis.aclose()


def test_the_end_of_a_waiting_run_leaves_the_events_of_the_running_one(
    make_run: Any, thread: Any, loop: Loop, worker: Worker
) -> None:
    running, waiting = make_run(), make_run()
    loop.run(lifecycle.claim(loop.pool, running.id, worker.id))

    async def emit() -> None:
        client = events.new_async_redis()
        writer = EventWriter(client, thread_id=thread.id, run_id=running.id)
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


async def test_a_read_back_that_failed_is_tried_again(
    fanout: Fanout, monkeypatch: pytest.MonkeyPatch
) -> None:
    thread_id, run_id = uuid7(), uuid7()
    monkeypatch.setattr(streams, "fanout", lambda: fanout)
    client = redis.Redis.from_url(settings.REDIS_URL)
    keys, argv = events._arguments(thread_id, run_id, [("values", b"1")], ended=False)
    client.eval(events._APPEND, 1, *keys, *argv)
    client.close()
    read_back = fanout.read_back
    answers: list[Any] = [None]

    async def away_once(*args: Any) -> Any:
        return answers.pop() if answers else await read_back(*args)

    monkeypatch.setattr(fanout, "read_back", away_once)
    async with fanout.watch(thread_id, run_id) as viewer:
        clock = asyncio.get_running_loop().time
        first = await streams.next_events(viewer, (0, 0), clock() + 0.2)
        second = await streams.next_events(viewer, (0, 0), clock() + 0.2)

    assert [event.data for event in first + second] == [b"1"]


@pytest.mark.parametrize("others", [0, 1])
async def test_a_viewer_may_leave_at_any_moment(
    fanout: Fanout, monkeypatch: pytest.MonkeyPatch, others: int
) -> None:
    monkeypatch.setattr(streams, "fanout", lambda: fanout)
    left: list[int] = []

    def view(steps: int) -> asyncio.Task[None]:
        stream = streams.RunStream(
            uuid7(), uuid7(), is_new=True, on_disconnect=lambda: left.append(steps)
        )

        async def read() -> None:
            async for _ in streams.sse(stream):
                pass

        return asyncio.create_task(read())

    staying = [view(0) for _ in range(others)]
    await asyncio.sleep(0.2 * others)
    for steps in range(1, 25):
        viewing = view(steps)
        for _ in range(steps):
            await asyncio.sleep(0)
        viewing.cancel()
        done, _ = await asyncio.wait([viewing], timeout=5)
        assert done, f"it stays after {steps} steps"

    assert left == list(range(1, 25))
    assert not any(one.done() for one in staying)
