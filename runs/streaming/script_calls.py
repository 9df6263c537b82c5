"""Calls scripts of Redis from an event loop, those of one turn in one round trip."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

import redis.asyncio
from redis.exceptions import NoScriptError


class Call(NamedTuple):
    script: str
    key: str
    args: Sequence[Any]
    answer: asyncio.Future[Any]


class ScriptCalls:
    """The scripts that run on one loop. Calls that come meanwhile wait for the next."""

    def __init__(self, client: redis.asyncio.Redis) -> None:
        self._client = client
        self._waiting: list[Call] = []
        self._sending: asyncio.Task[None] | None = None

    async def call(self, script: str, key: str, args: Sequence[Any]) -> Any:
        """The script's answer. Raises what Redis or the connection raises."""
        answer = asyncio.get_running_loop().create_future()
        self._waiting.append(Call(script, key, args, answer))
        if self._sending is None:
            self._sending = asyncio.create_task(self._send())
        return await answer

    async def _send(self) -> None:
        try:
            while self._waiting:
                calls, self._waiting = self._waiting, []
                await self._send_all(calls)
        finally:
            self._sending = None

    async def _send_all(self, calls: list[Call]) -> None:
        try:
            answers = await self._answers(calls)
        except Exception as exc:
            answers = [exc] * len(calls)
        for call, answer in zip(calls, answers, strict=True):
            if call.answer.done():  # Its caller was cancelled.
                continue
            if isinstance(answer, Exception):
                call.answer.set_exception(answer)
            else:
                call.answer.set_result(answer)

    async def _answers(self, calls: list[Call]) -> list[Any]:
        pipeline = self._client.pipeline(transaction=False)
        for script, key, args, _ in calls:
            pipeline.evalsha(sha(script), 1, key, *args)
        answers = await pipeline.execute(raise_on_error=False)
        unknown = [i for i, one in enumerate(answers) if isinstance(one, NoScriptError)]
        if unknown:  # Redis was restarted, or knows this version's scripts not yet.
            for i in unknown:
                script, key, args, _ = calls[i]
                pipeline.eval(script, 1, key, *args)
            found = await pipeline.execute(raise_on_error=False)
            for i, answer in zip(unknown, found, strict=True):
                answers[i] = answer
        return answers


@cache
def sha(script: str) -> str:
    return hashlib.sha1(script.encode(), usedforsecurity=False).hexdigest()
