from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from contextvars import ContextVar

import pytest
from django.test import override_settings

from spool.tests.live import WAIT_SECS
from spool.web.thread_pool import DatabaseThreads

variable: ContextVar[str] = ContextVar("variable", default="")


@pytest.fixture
async def threads() -> AsyncIterator[DatabaseThreads]:
    with override_settings(WEB_THREADS=1):
        pool = DatabaseThreads()
        yield pool
        await asyncio.to_thread(pool.close)


async def test_the_result_and_the_error_reach_the_caller(
    threads: DatabaseThreads,
) -> None:
    assert await threads.run(divmod, 7, 2) == (3, 1)
    with pytest.raises(ZeroDivisionError):
        await threads.run(divmod, 7, 0)
    with pytest.raises(SystemExit):
        await threads.run(exit, 1)
    assert await threads.run(divmod, 7, 2) == (3, 1)


async def test_each_call_has_the_context_of_its_caller(
    threads: DatabaseThreads,
) -> None:
    variable.set("the caller's")

    def change() -> str:
        seen = variable.get()
        variable.set("the call's")
        return seen

    assert await threads.run(change) == "the caller's"
    assert await threads.run(change) == "the caller's"
    assert variable.get() == "the caller's"


async def test_a_call_that_was_given_up_before_its_turn_does_not_run(
    threads: DatabaseThreads,
) -> None:
    begun, release = threading.Event(), threading.Event()
    ran: list[str] = []

    def wait() -> bool:
        begun.set()
        return release.wait(WAIT_SECS)

    first = asyncio.ensure_future(threads.run(wait))
    await asyncio.to_thread(begun.wait, WAIT_SECS)
    second = asyncio.ensure_future(threads.run(ran.append, "second"))
    await asyncio.sleep(0)
    assert threads.active == 2

    second.cancel()
    await asyncio.wait((second,))
    release.set()

    assert await first
    await threads.run(ran.append, "third")
    assert ran == ["third"]
    assert threads.active == 0


async def test_closing_waits_for_what_runs(threads: DatabaseThreads) -> None:
    begun, release = threading.Event(), threading.Event()

    def work() -> str:
        begun.set()
        release.wait(WAIT_SECS)
        return "done"

    working = asyncio.ensure_future(threads.run(work))
    await asyncio.to_thread(begun.wait, WAIT_SECS)
    closing = asyncio.ensure_future(asyncio.to_thread(threads.close))
    release.set()

    assert await working == "done"
    await closing
    assert await threads.run(divmod, 7, 2) == (3, 1)
