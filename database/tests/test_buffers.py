"""Connections whose buffers may have grown are replaced, but not while they are used."""

from __future__ import annotations

import asyncio

import pytest
from django.db import close_old_connections, connection, transaction

from spool.database import buffers, loop
from spool.tests.live import wait_until


def backend() -> int:
    """The process of Postgres that serves this connection."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        (pid,) = cursor.fetchone()
        return int(pid)


@pytest.mark.django_db(transaction=True)
def test_a_connection_of_django_is_replaced_between_requests() -> None:
    before = backend()

    with transaction.atomic():
        buffers.replace_connections()
        within = backend()
    close_old_connections()
    after = backend()
    close_old_connections()

    assert within == before
    assert after != before
    assert backend() == after


@pytest.mark.django_db
def test_connections_of_a_loop_are_replaced_when_they_are_returned() -> None:
    shared = loop.shared_loop()

    async def pid() -> int:
        async with shared.pool.connection() as conn:
            row = await (
                await conn.execute("SELECT pg_backend_pid() AS pid")
            ).fetchone()
            assert row
            return int(row["pid"])

    async def keep() -> tuple[int, int]:
        """The connection before and after the others are replaced."""
        async with shared.pool.connection() as conn:
            before = conn.info.backend_pid
            await asyncio.to_thread(loop.replace_connections)
            await asyncio.sleep(0.1)
            await conn.execute("SELECT 1")
            return before, conn.info.backend_pid

    first, still = shared.run(keep())

    assert first == still
    wait_until(lambda: shared.run(pid()) != first)
