from __future__ import annotations

import asyncio

from spool.runs.streaming.light_event import LightEvent


async def test_all_waiters_continue_but_those_that_were_cancelled() -> None:
    event = LightEvent()
    waiters = [asyncio.create_task(event.wait()) for _ in range(3)]
    await asyncio.sleep(0)

    waiters[0].cancel()
    event.set()
    done, _ = await asyncio.wait(waiters, timeout=10)

    assert [waiter.cancelled() for waiter in waiters] == [True, False, False]
    assert done == set(waiters)


async def test_a_cleared_event_is_awaited_again() -> None:
    event = LightEvent()
    event.set()
    await event.wait()

    event.clear()
    waiting = asyncio.create_task(event.wait())
    await asyncio.sleep(0)

    assert not waiting.done()
    event.set()
    await asyncio.wait_for(waiting, 10)
