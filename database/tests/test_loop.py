from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar

import pytest

from spool.database.loop import close_shared_loop, shared_loop


class State:
    """What the context of a run leads to."""


_state: ContextVar[State] = ContextVar("state")


@pytest.mark.django_db
def test_threads_that_want_the_loop_together_get_one() -> None:
    close_shared_loop()
    barrier = threading.Barrier(8)

    def want(_: int) -> object:
        barrier.wait()
        return shared_loop()

    with ThreadPoolExecutor(8) as threads:
        found = set(threads.map(want, range(8)))

    assert found == {shared_loop()}


@pytest.mark.django_db
def test_nothing_of_a_run_is_kept_when_it_has_ended() -> None:
    close_shared_loop()
    loop = shared_loop()
    kept: list[weakref.ref[State]] = []

    async def run() -> None:
        state = State()
        kept.append(weakref.ref(state))
        _state.set(state)
        # Holds a connection, and starts the timer that ends this.
        await loop.pool.fetch_one("SELECT 1 AS one", {})
        # As clients of models do.
        async with asyncio.timeout(600):
            await asyncio.sleep(0)

    for _ in range(3):
        loop.run(run())
    # The last task's end is handled by the loop's next turn.
    loop.run(asyncio.sleep(0.01))
    gc.collect()

    assert [state() for state in kept] == [None] * 3
