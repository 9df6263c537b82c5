"""The `BaseStore` that graphs get: one owner's items."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

from langgraph.store.base import (
    BaseStore,
    GetOp,
    Item,
    ListNamespacesOp,
    Op,
    PutOp,
    Result,
    SearchItem,
    SearchOp,
)

from config.json import jsonb_bytes
from config.loop import Pool
from store import statements


class PostgresStore(BaseStore):
    """Items of one owner, on the loop that made it and that owns `pool`.

    The synchronous methods are for nodes that run on threads of their own. In a batch
    all reads come before all writes, as in LangGraph's other stores.
    """

    supports_ttl = True

    def __init__(self, pool: Pool, owner: str) -> None:
        self._pool = pool
        self._owner = owner
        self._loop = asyncio.get_running_loop()

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
        results: list[Result] = [None] * len(listed)
        await self._get(listed, results)
        for index, op in enumerate(listed):
            if isinstance(op, SearchOp):
                results[index] = await self._search(op)
            elif isinstance(op, ListNamespacesOp):
                results[index] = await self._list_namespaces(op)
        await self._put([op for op in listed if isinstance(op, PutOp)])
        return results

    async def _get(self, ops: list[Op], results: list[Result]) -> None:
        gets = {i: op for i, op in enumerate(ops) if isinstance(op, GetOp)}
        if not gets:
            return
        rows = await self._rows(statements.GET, _places(gets.values()))
        found = {(row["path"], row["key"]): _item(row) for row in rows}
        for index, op in gets.items():
            place = (statements.path_of(op.namespace), op.key)
            results[index] = found.get(place)
        refreshed = [op for op in gets.values() if op.refresh_ttl]
        if refreshed and found:
            await self._write(statements.REFRESH, _places(refreshed))

    async def _search(self, op: SearchOp) -> list[SearchItem]:
        statement, params = statements.search(
            op.namespace_prefix, op.filter, limit=op.limit, offset=op.offset
        )
        return [
            SearchItem(**_fields(row)) for row in await self._rows(statement, params)
        ]

    async def _list_namespaces(self, op: ListNamespacesOp) -> list[tuple[str, ...]]:
        match = {c.match_type: c.path for c in op.match_conditions or ()}
        statement, params = statements.namespaces(
            prefix=match.get("prefix", ()),
            suffix=match.get("suffix", ()),
            max_depth=op.max_depth,
            limit=op.limit,
            offset=op.offset,
        )
        return [tuple(row["namespace"]) for row in await self._rows(statement, params)]

    async def _put(self, puts: list[PutOp]) -> None:
        # Of several writes of one key the last one counts.
        last = {(statements.path_of(op.namespace), op.key): op for op in puts}
        kept = [op for op in last.values() if op.value is not None]
        gone = [op for op in last.values() if op.value is None]
        if kept:
            values = {
                "values": [jsonb_bytes(op.value).decode() for op in kept],
                "minutes": [op.ttl for op in kept],
            }
            await self._write(statements.PUT, _places(kept) | values)
        if gone:
            await self._write(statements.DELETE, _places(gone))

    async def _rows(self, statement: str, params: dict[str, Any]) -> list[Any]:
        async with self._pool.connection() as conn:
            cursor = await conn.execute(statement, {**params, "owner": self._owner})
            return await cursor.fetchall()

    async def _write(self, statement: str, params: dict[str, Any]) -> None:
        async with self._pool.connection() as conn:
            await conn.execute(statement, {**params, "owner": self._owner})


def _places(ops: Iterable[GetOp | PutOp]) -> dict[str, list[str]]:
    listed = list(ops)
    return {
        "paths": [statements.path_of(op.namespace) for op in listed],
        "keys": [str(op.key) for op in listed],
    }


def _fields(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "namespace": tuple(row["path"].split(".")),
        "key": row["key"],
        "value": row["value"],
        "created_at": row["created_at"],
        "updated_at": row["updated_at"],
    }


def _item(row: dict[str, Any]) -> Item:
    return Item(**_fields(row))
