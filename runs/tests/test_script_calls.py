"""Calls of scripts share a connection and its round trips, and nothing else."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import redis.asyncio
from redis.exceptions import ConnectionError, ResponseError

from spool.runs.streaming import events, script_calls
from spool.runs.streaming.script_calls import ScriptCalls

ECHO = "return {KEYS[1], ARGV[1], ARGV[2]}"
FAIL = "return redis.error_reply('ERR it fails')"


class Calling:
    def __init__(self) -> None:
        self.client = events.new_async_redis()
        self.calls = ScriptCalls(self.client)

    async def echo(self, key: str) -> Any:
        return await self.calls.call(ECHO, key, ["ä", 7])


@pytest.fixture
async def calling() -> AsyncIterator[Calling]:
    calling = Calling()
    yield calling
    await calling.client.aclose()


async def test_calls_of_one_turn_are_sent_together(
    calling: Calling, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = []
    exchange = script_calls._exchange

    async def counted(
        connection: Any, packed: bytes, count: int, on_sent: Any
    ) -> list[Any]:
        sent.append(count)
        return await exchange(connection, packed, count, on_sent)

    await calling.echo("loads the script")
    monkeypatch.setattr(script_calls, "_exchange", counted)
    found = await asyncio.gather(*[calling.echo(f"key {n}") for n in range(3)])

    assert found == [[f"key {n}".encode(), "ä".encode(), b"7"] for n in range(3)]
    assert sent == [3]


async def test_an_error_is_that_of_its_call_only(calling: Calling) -> None:
    failing = calling.calls.call(FAIL, "key", [])
    found: Any = await asyncio.gather(
        calling.echo("before"), failing, calling.echo("after"), return_exceptions=True
    )

    assert [found[0][0], found[2][0]] == [b"before", b"after"]
    assert isinstance(found[1], ResponseError)


async def test_scripts_are_sent_again_to_a_redis_that_lost_them(
    calling: Calling,
) -> None:
    await calling.echo("first")
    await calling.client.script_flush()

    found = await asyncio.gather(calling.echo("a"), calling.echo("b"))

    assert [one[0] for one in found] == [b"a", b"b"]


async def test_calls_are_sent_again_on_a_new_connection(calling: Calling) -> None:
    await calling.echo("first")
    connection: Any = calling.calls._connection
    await connection.send_command("CLIENT", "ID")
    await calling.client.client_kill_filter(_id=await connection.read_response())

    assert (await calling.echo("again"))[0] == b"again"


async def test_a_call_tells_when_it_is_sent(calling: Calling) -> None:
    await calling.echo("loads the script")
    sent = asyncio.get_running_loop().create_future()
    calls = [
        asyncio.create_task(calling.calls.call(ECHO, key, ["ä", 7], told))
        for key, told in (("one", None), ("two", sent))
    ]

    await sent
    was_answered = any(call.done() for call in calls)
    await asyncio.gather(*calls)

    assert not was_answered


async def test_a_call_that_can_not_be_sent_tells_so(calling: Calling) -> None:
    calling.calls = ScriptCalls(redis.asyncio.Redis(host="127.0.0.1", port=1))
    sent = asyncio.get_running_loop().create_future()

    with pytest.raises(ConnectionError):
        await calling.calls.call(ECHO, "key", ["ä", 7], sent)

    assert sent.done()


async def test_a_caller_that_is_cancelled_leaves_its_answer_to_no_other(
    calling: Calling,
) -> None:
    await calling.echo("first")
    left = asyncio.create_task(calling.echo("left"))
    await asyncio.sleep(0)  # It is sent.
    await asyncio.sleep(0)
    left.cancel()

    assert (await calling.echo("next"))[0] == b"next"
