"""The `BaseStore` that graphs get: one owner's items."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any, TypeVar

from langgraph.store.base import BaseStore, Op, Result
from psycopg import AsyncConnection

from spool.database.pool import Pool
from spool.database.retries import CONNECTION_FAULTS, retry
from spool.store.index import Embed, embed_texts, index_config
from spool.store.operations import Row, Statement, Step, Steps, Together, batch, check
from spool.store.statements import ANY_TIME, Permit
from spool.store.ttl import ttl_config

T = TypeVar("T")
Request = tuple[list[Op], asyncio.Future[list[Result]]]


class PostgresStore(BaseStore):
    """The items of one owner, used on the loop that created it and that owns `pool`.

    The synchronous methods are for nodes that run in threads of their own. Requests
    that nodes make in the same iteration of the loop form one batch. In a batch all
    reads come before all writes, as in LangGraph's other stores. If `permit` does not
    hold, writes change nothing and raise nothing: the run has a later attempt.
    """

    supports_ttl = True

    def __init__(self, pool: Pool, owner: str, permit: Permit = ANY_TIME) -> None:
        self.ttl_config = ttl_config()
        self._pool = pool
        self._owner = owner
        self._permit = permit
        self._loop = asyncio.get_running_loop()
        self._waiting: list[Request] = []
        self._sending: set[asyncio.Task[None]] = set()

    def batch(self, ops: Iterable[Op]) -> list[Result]:
        try:
            running = asyncio.get_running_loop()
        except RuntimeError:
            running = None
        if running is self._loop:
            raise asyncio.InvalidStateError(
                "the store's synchronous methods would block the event loop here: "
                "use `await store.aget(…)` and the like"
            )
        return asyncio.run_coroutine_threadsafe(self.abatch(ops), self._loop).result()

    async def abatch(self, ops: Iterable[Op]) -> list[Result]:
        listed = list(ops)
        if asyncio.get_running_loop() is not self._loop:
            # The node's thread runs an event loop of its own.
            requests = asyncio.run_coroutine_threadsafe(self.abatch(listed), self._loop)
            return await asyncio.wrap_future(requests)
        for op in listed:
            check(self._owner, op)
        answer: asyncio.Future[list[Result]] = self._loop.create_future()
        self._waiting.append((listed, answer))
        if len(self._waiting) == 1:
            self._loop.call_soon(self._send)
        return await answer

    def _send(self) -> None:
        task = self._loop.create_task(self._answer(self._waiting))
        self._waiting = []
        # Keep a reference: the loop itself only has a weak one.
        self._sending.add(task)
        task.add_done_callback(self._sending.discard)

    async def _answer(self, requests: list[Request]) -> None:
        """Answer all requests of one loop iteration with one batch."""
        together = [op for ops, _ in requests for op in ops]
        try:
            results = iter(await self._run(batch(self._owner, together, self._permit)))
        except Exception as exc:
            if len(requests) > 1 and not isinstance(exc, CONNECTION_FAULTS):
                # One request failed; run the others without it.
                await asyncio.gather(*[self._answer([one]) for one in requests])
                return
            for _, answer in requests:
                if not answer.done():
                    answer.set_exception(exc)
            return
        for ops, answer in requests:
            mine = [next(results) for _ in ops]
            if not answer.done():  # A cancelled node no longer waits.
                answer.set_result(mine)

    async def _run(self, steps: Steps[T]) -> T:
        try:
            step = next(steps)
            while True:
                step = steps.send(await self._do(step))
        except StopIteration as done:
            result: T = done.value
            return result

    async def _do(self, step: Step) -> Any:
        if isinstance(step, Embed):
            index = index_config()
            return await embed_texts(index, step) if index else []
        statements = step.statements if isinstance(step, Together) else (step,)
        # Every statement is idempotent, so it can be retried.
        return await retry(self._pool, lambda: self._rows(statements))

    async def _rows(self, statements: tuple[Statement, ...]) -> list[Row]:
        async with self._pool.connection() as conn:
            if len(statements) == 1:
                return await _rows(conn, statements[0])
            async with conn.transaction():
                return [await _rows(conn, one) for one in statements][-1]


async def _rows(conn: AsyncConnection[Row], statement: Statement) -> list[Row]:
    cursor = await conn.execute(statement.sql, statement.params)
    return await cursor.fetchall() if cursor.description else []
