"""Connections that are held for the hot path, and all other connections."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
from psycopg import OperationalError
from psycopg.errors import DivisionByZero

from spool.database import pool as pool_module
from spool.database.json import jsonb
from spool.database.loop import Loop, conninfo
from spool.database.pool import Pool

pytestmark = pytest.mark.django_db(transaction=True)

PID = "SELECT pg_backend_pid() AS pid, %(one)s::int AS one"
Test = Callable[[Pool], Awaitable[None]]


@pytest.fixture(params=[True, False], ids=["prepared", "unprepared"])
def is_prepared(request: Any, settings: Any) -> bool:
    settings.DATABASE_PREPARED_STATEMENTS = request.param
    return bool(request.param)


@pytest.fixture
def run() -> Iterator[Callable[..., None]]:
    """A function that runs a coroutine on a loop with a pool of the given size."""
    loops = []

    def on_loop(test: Test, size: int = 1) -> None:
        loops.append(Loop(name="test", pool_size=size))
        loops[-1].run(asyncio.wait_for(test(loops[-1].pool), 20))

    yield on_loop
    for loop in loops:
        loop.close()


async def pid_of(pool: Pool) -> int:
    row = await pool.fetch_one(PID, {"one": 1})
    assert row
    assert row["one"] == 1
    return int(row["pid"])


async def terminate(pid: int) -> None:
    """Terminate connections on another one, as an administrator does."""
    other = Pool(conninfo(), min_size=1, open=False)
    await other.open()
    await other.fetch_one("SELECT pg_terminate_backend(%(pid)s, 5000)", {"pid": pid})
    await other.close()


def test_a_connection_is_held_between_statements(run: Any, is_prepared: bool) -> None:
    async def test(pool: Pool) -> None:
        assert await pid_of(pool) == await pid_of(pool)
        assert pool.get_stats()["requests_num"] == 1

    run(test)


def test_rows_have_names_and_values(run: Any, is_prepared: bool) -> None:
    async def test(pool: Pool) -> None:
        statement = "SELECT %(one)s::jsonb AS one, now() > '2026-01-01' AS is_later"
        found = await pool.fetch_one(statement, {"one": jsonb({"a": [1]})})
        assert found == {"one": {"a": [1]}, "is_later": True}
        assert await pool.fetch_one("SELECT 1 WHERE false", {}) is None
        assert await pool.fetch_one("SET work_mem = '4MB'", {}) is None

    run(test)


def test_more_statements_than_connections_wait_for_one(run: Any) -> None:
    async def test(pool: Pool) -> None:
        statement = "SELECT %(one)s::int AS one, pg_sleep(0.01)"
        found = await asyncio.gather(
            *[pool.fetch_one(statement, {"one": number}) for number in range(20)]
        )
        assert [row and row["one"] for row in found] == list(range(20))
        assert pool.get_stats()["pool_size"] <= 2

    run(test, 2)


def test_others_get_a_held_connection_if_there_is_no_other(run: Any) -> None:
    async def test(pool: Pool) -> None:
        held = await pid_of(pool)
        async with pool.connection() as conn:
            assert conn.info.backend_pid == held
            waiting = asyncio.create_task(pid_of(pool))
            await asyncio.sleep(0.05)
            assert not waiting.done()
        assert await waiting == held

    run(test)


def test_others_that_wait_are_not_starved(run: Any) -> None:
    async def test(pool: Pool) -> None:
        stops = asyncio.Event()

        async def keep_busy() -> None:
            while not stops.is_set():
                await pid_of(pool)

        busy = [asyncio.create_task(keep_busy()) for _ in range(3)]
        for _ in range(5):
            async with pool.connection():
                pass
        stops.set()
        await asyncio.gather(*busy)

    run(test)


def test_a_connection_that_is_lost_while_idle_is_replaced(
    run: Any, is_prepared: bool
) -> None:
    async def test(pool: Pool) -> None:
        held = await pid_of(pool)
        await terminate(held)
        while pool.held.idle_count:
            await asyncio.sleep(0.01)
        assert await pid_of(pool) != held

    run(test)


def test_a_connection_that_is_lost_in_a_statement_is_replaced(
    run: Any, is_prepared: bool
) -> None:
    async def test(pool: Pool) -> None:
        with pytest.raises(OperationalError):
            await pool.fetch_one("SELECT pg_terminate_backend(pg_backend_pid())", {})
        await pid_of(pool)

    run(test)


def test_an_error_leaves_the_connection_usable(run: Any, is_prepared: bool) -> None:
    async def test(pool: Pool) -> None:
        held = await pid_of(pool)
        for _ in range(2):
            with pytest.raises(DivisionByZero):
                await pool.fetch_one("SELECT 1 / %(none)s::int", {"none": 0})
        assert await pid_of(pool) == held

    run(test)


def test_the_answer_to_a_cancelled_caller_goes_to_no_other(
    run: Any, is_prepared: bool
) -> None:
    async def test(pool: Pool) -> None:
        slow = "SELECT 'slow' AS word, pg_sleep(0.1)"
        leaving = asyncio.create_task(pool.fetch_one(slow, {}))
        await asyncio.sleep(0.05)
        leaving.cancel()
        found = await pool.fetch_one("SELECT 'quick' AS word", {})
        assert found == {"word": "quick"}

    run(test)


def test_large_values_are_sent_and_received(run: Any, is_prepared: bool) -> None:
    async def test(pool: Pool) -> None:
        data = bytes(range(256)) * 2**16
        found = await pool.fetch_one("SELECT %(data)b::bytea AS data", {"data": data})
        assert found == {"data": data}

    run(test)


def test_statements_that_were_deallocated_are_prepared_again(run: Any) -> None:
    async def test(pool: Pool) -> None:
        held = await pid_of(pool)
        async with pool.connection() as conn:
            await conn.execute("DEALLOCATE ALL")
        assert await pid_of(pool) == held

    run(test)


def test_a_connection_is_not_held_for_ever(
    run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool_module, "HOLD_SECS", 0.05)

    async def test(pool: Pool) -> None:
        await pid_of(pool)
        assert pool.held.idle_count == 1
        while pool.held.idle_count:
            await asyncio.sleep(0.01)
        while not pool.get_stats()["pool_available"]:
            await asyncio.sleep(0.01)

    run(test)


def test_held_connections_are_replaced_with_all_others(run: Any) -> None:
    async def test(pool: Pool) -> None:
        slow = "SELECT pg_backend_pid() AS pid, pg_sleep(0.1)"
        held = await pid_of(pool)
        in_use = asyncio.create_task(pool.fetch_one(slow, {}))
        await asyncio.sleep(0.05)
        await pool.drain()
        assert (await in_use or {})["pid"] == held
        assert await pid_of(pool) != held

    run(test)
