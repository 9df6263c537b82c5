"""Messages between web processes, over the real Valkey."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from spool.protocols.mcp.signals import (
    Signals,
    payload_key,
    publish_change,
)
from spool.runs.streaming.events import redis_client


@pytest.fixture
async def here() -> AsyncIterator[Signals]:
    signals = Signals()
    yield signals
    await signals.close()


@pytest.fixture
async def there() -> AsyncIterator[Signals]:
    """The signals of another process."""
    signals = Signals()
    yield signals
    await signals.close()


async def test_a_payload_reaches_the_process_that_waits(
    here: Signals, there: Signals
) -> None:
    key = payload_key("alice", "session", "1")
    with here.expecting(key) as payload:
        await there.leave(key, b"yes", keep_secs=60)

        assert await asyncio.wait_for(payload, 60) == b"yes"


async def test_a_payload_may_come_first(here: Signals, there: Signals) -> None:
    key = payload_key("alice", "session", "2")
    await there.leave(key, b"yes", keep_secs=60)

    with here.expecting(key) as payload:
        assert await asyncio.wait_for(payload, 60) == b"yes"


async def test_a_payload_is_not_lost_with_the_connection(
    here: Signals, there: Signals
) -> None:
    first, second = (payload_key("alice", "session", number) for number in "34")
    with here.expecting(first) as payload:
        await there.leave(first, b"connected", keep_secs=60)
        await asyncio.wait_for(payload, 60)
    with here.expecting(second) as payload:
        redis_client().client_kill_filter(_type="pubsub")
        await there.leave(second, b"again", keep_secs=60)

        assert await asyncio.wait_for(payload, 60) == b"again"


def test_a_key_is_of_all_its_parts() -> None:
    keys = {
        payload_key("alice", "s", "1"),
        payload_key("bob", "s", "1"),
        payload_key("alice", "s1", ""),
        payload_key("alice", "s", "1", ""),
    }

    assert len(keys) == 4


async def test_a_change_wakes_all_listeners(here: Signals, there: Signals) -> None:
    calls = [asyncio.Event(), asyncio.Event()]
    with here.listening(calls[0].set), there.listening(calls[1].set):
        # They are called once at first, since changes may have been missed before.
        async with asyncio.timeout(60):
            for call in calls:
                await call.wait()
                call.clear()

        publish_change()

        async with asyncio.timeout(60):
            for call in calls:
                await call.wait()
