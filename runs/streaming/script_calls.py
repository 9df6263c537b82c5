"""Calls Redis scripts from an event loop: all calls of one turn share a round trip.

The client of redis-py takes a connection from its pool for each command, and handles
timeouts, retries and events for each, which costs three times as much as the call
itself. Here one connection is held, and all waiting calls are sent together.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, NamedTuple

import redis.asyncio
from redis.exceptions import ConnectionError as Disconnected
from redis.exceptions import NoScriptError, ResponseError

Argument = bytes | str | int


class Call(NamedTuple):
    script: str
    key: str
    args: Sequence[Argument]
    answer: asyncio.Future[Any]
    # Done when the call is sent, or when it can't be sent.
    sent: asyncio.Future[None] | None = None


class ScriptCalls:
    """The script calls of one loop. Calls made during a round trip wait for the next.

    Scripts must be safe to run twice: after a lost connection they are sent again.
    """

    def __init__(self, client: redis.asyncio.Redis) -> None:
        self._pool: Any = client.connection_pool  # Without types.
        self._connection: redis.asyncio.Connection | None = None
        self._waiting: list[Call] = []
        self._sending: asyncio.Task[None] | None = None

    async def call(
        self,
        script: str,
        key: str,
        args: Sequence[Argument],
        sent: asyncio.Future[None] | None = None,
    ) -> Any:
        """Call a script and return its answer. Raises what Redis or redis-py raises.

        `sent` is done before that: once the call is on its way, or can't be sent.
        """
        answer = asyncio.get_running_loop().create_future()
        self._waiting.append(Call(script, key, args, answer, sent))
        if self._sending is None:
            self._sending = asyncio.create_task(self._send())
        return await answer

    async def _send(self) -> None:
        try:
            while self._waiting:
                calls = [one for one in self._waiting if not one.answer.cancelled()]
                self._waiting = []
                await self._send_all(calls)
        finally:
            self._sending = None

    async def _send_all(self, calls: Sequence[Call]) -> None:
        answers: list[Any]
        try:
            answers = await self._answers(calls)
        except Exception as exc:
            answers = [exc] * len(calls)
            _tell_sent(calls)
        for call, answer in zip(calls, answers, strict=True):
            if call.answer.done():  # Its caller was cancelled.
                continue
            if isinstance(answer, Exception):
                call.answer.set_exception(answer)
            else:
                call.answer.set_result(answer)

    async def _answers(self, calls: Sequence[Call]) -> list[Any]:
        answers = await self._execute(
            [("EVALSHA", sha(one.script), 1, one.key, *one.args) for one in calls],
            lambda: _tell_sent(calls),
        )
        unknown = [i for i, one in enumerate(answers) if isinstance(one, NoScriptError)]
        if unknown:  # Redis was restarted, or has not seen this version's scripts yet.
            again = [calls[i] for i in unknown]
            found = await self._execute(
                [("EVAL", one.script, 1, one.key, *one.args) for one in again]
            )
            for i, answer in zip(unknown, found, strict=True):
                answers[i] = answer
        return answers

    async def _execute(
        self,
        commands: Sequence[Sequence[Argument]],
        on_sent: Callable[[], None] = lambda: None,
    ) -> list[Any]:
        """The answers to these commands, which may be errors of Redis."""
        packed = b"".join(map(pack, commands))
        if self._connection is None:
            self._connection = await self._pool.get_connection()
        elif self._connection.is_connected:
            try:
                return await _exchange(self._connection, packed, len(commands), on_sent)
            except Disconnected:
                pass  # Usually Redis was restarted while the connection was idle.
        return await _exchange(self._connection, packed, len(commands), on_sent)


async def _exchange(
    connection: redis.asyncio.Connection,
    packed: bytes,
    count: int,
    on_sent: Callable[[], None],
) -> list[Any]:
    try:
        await connection.send_packed_command(packed)
        on_sent()
        return [await _answer(connection) for _ in range(count)]
    except BaseException:
        # An answer that is still to come would be taken for that of another command.
        await connection.disconnect(nowait=True)
        raise


def _tell_sent(calls: Sequence[Call]) -> None:
    for call in calls:
        if call.sent and not call.sent.done():
            call.sent.set_result(None)


async def _answer(connection: redis.asyncio.Connection) -> Any:
    try:
        return await connection.read_response()
    except ResponseError as exc:
        return exc


def pack(command: Sequence[Argument]) -> bytes:
    """A command in the protocol of Redis."""
    parts = [b"*%d\r\n" % len(command)]
    for one in command:
        text = one if isinstance(one, bytes) else str(one).encode()
        parts.append(b"$%d\r\n%b\r\n" % (len(text), text))
    return b"".join(parts)


@cache
def sha(script: str) -> str:
    return hashlib.sha1(script.encode(), usedforsecurity=False).hexdigest()
