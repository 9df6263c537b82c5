"""The pool of connections of an event loop, some of which are held for the hot path.

psycopg's pool checks a connection out and in for each statement, and psycopg's cursor
waits with a timeout and an event of its own for each answer: together three times what a
prepared statement costs here. `Pool.fetch_one` keeps the connections that it has used,
and reads their answers by a callback of the loop. Others get one of these whenever the
pool has none left, so that holding takes nothing from them.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Mapping
from contextvars import Context
from functools import partial
from itertools import count
from typing import Any
from weakref import WeakKeyDictionary

from django.conf import settings
from psycopg import AsyncConnection, Error, OperationalError
from psycopg.adapt import Loader
from psycopg.errors import InvalidSqlStatementName
from psycopg.pq import ConnStatus
from psycopg.pq.abc import PGresult
from psycopg.rows import DictRow
from psycopg_pool import AsyncConnectionPool

from spool.database.direct import Loaders, checked, column_names, parsed
from spool.database.json import from_jsonb

# How long a connection is held. Then the pool may close it, for its age, for instance.
HOLD_SECS = 60.0


class JSONLoader(Loader):
    def load(self, data: Any) -> Any:
        return from_jsonb(bytes(data))


LOADERS = (("json", JSONLoader), ("jsonb", JSONLoader))


# What is prepared on connections, also while psycopg uses them.
_names: WeakKeyDictionary[AsyncConnection[DictRow], dict[bytes, bytes]]
_names = WeakKeyDictionary()
_numbers = count()


class HeldConnection:
    """An open connection of an event loop, for one statement at a time.

    `on_loss` is called if the connection is lost without a statement that waits.
    """

    def __init__(
        self,
        connection: AsyncConnection[DictRow],
        on_loss: Callable[[HeldConnection], None],
    ) -> None:
        self.connection = connection
        self._on_loss = on_loss
        self._loop = asyncio.get_running_loop()
        self._pgconn = connection.pgconn
        self._socket = self._pgconn.socket
        self._loaders = Loaders(connection, LOADERS)
        self._names = _names.setdefault(connection, {})
        # The results of the statement that is being executed, and who waits for them.
        self._results: list[PGresult] = []
        self._waiting: asyncio.Future[PGresult] | None = None
        self._on_end: Callable[[], None] | None = None
        # Whether the loop tells when the socket takes more.
        self._is_writing = False
        self.held_since = 0.0

    def open(self) -> None:
        self.held_since = self._loop.time()
        # Not in the context of a run, which would be kept as long.
        Context().run(self._loop.add_reader, self._socket, self._read)

    def close(self) -> None:
        """Leave the connection to psycopg."""
        self._loop.remove_reader(self._socket)
        self._loop.remove_writer(self._socket)

    @property
    def is_lost(self) -> bool:
        return self._pgconn.status != ConnStatus.OK

    def call_at_end(self, function: Callable[[], None]) -> None:
        """Call `function` once no statement is being executed."""
        if self._waiting is None:
            function()
        else:
            self._on_end = function

    async def fetch_one(
        self, statement: str, values: Mapping[str, Any]
    ) -> DictRow | None:
        sql, _, formats = written = parsed(statement)
        params: Any = written.params(values)
        result = await self._execute(sql, params, formats)
        if not result.ntuples:
            return None
        names = column_names(result)
        return dict(zip(names, self._loaders.rows(result)[0], strict=True))

    async def _execute(self, sql: bytes, params: Any, formats: Any) -> PGresult:
        pgconn = self._pgconn
        if not settings.DATABASE_PREPARED_STATEMENTS:
            pgconn.send_query_params(sql, params, None, formats)
            return checked(await self._result())
        for _ in range(2):
            if (name := self._names.get(sql)) is None:
                name = b"spool_%d" % next(_numbers)
                pgconn.send_prepare(name, sql)
                checked(await self._result())
                self._names[sql] = name
            pgconn.send_query_prepared(name, params, formats)
            try:
                return checked(await self._result())
            except InvalidSqlStatementName:
                # psycopg has deallocated all statements of the connection.
                self._names.clear()
        raise OperationalError("a prepared statement is deallocated again and again")

    def _result(self) -> asyncio.Future[PGresult]:
        """The result of what was just sent."""
        self._waiting = waiting = self._loop.create_future()
        self._flush()
        return waiting

    def _flush(self) -> None:
        try:
            is_left = self._pgconn.flush()
        except Error as exc:
            self._fail(exc)
            return
        if is_left:  # More than the socket takes at once.
            self._loop.add_writer(self._socket, self._flush)
            self._is_writing = True
        elif self._is_writing:
            self._loop.remove_writer(self._socket)
            self._is_writing = False

    def _read(self) -> None:
        try:
            self._pgconn.consume_input()
        except Error as exc:
            self._fail(exc)
            return
        if self._waiting is None:
            return
        while not self._pgconn.is_busy():
            if (result := self._pgconn.get_result()) is None:
                self._end()
                return
            self._results.append(result)

    def _end(self, exc: Exception | None = None) -> None:
        waiting, self._waiting = self._waiting, None
        results, self._results = self._results, []
        if waiting and not waiting.done():  # Else its caller was cancelled.
            if exc or not results:
                waiting.set_exception(exc or OperationalError("there is no result"))
            else:
                waiting.set_result(results[-1])
        if on_end := self._on_end:
            self._on_end = None
            on_end()

    def _fail(self, exc: Exception) -> None:
        """The connection is lost."""
        self.close()
        if self._waiting:
            self._end(exc)
        else:
            self._on_loss(self)


class Held:
    """The connections of a pool that are held for the hot path."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        # Those without a statement; the last one used is the next.
        self._idle: list[HeldConnection] = []
        self._returning: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._released_at = -math.inf

    @property
    def idle_count(self) -> int:
        return len(self._idle)

    async def take(self) -> HeldConnection:
        return self._idle.pop() if self._idle else await self._hold_another()

    async def _hold_another(self) -> HeldConnection:
        held = HeldConnection(await self._pool.getconn(), self._lose)
        held.open()
        return held

    def put_back(self, held: HeldConnection) -> None:
        now = asyncio.get_running_loop().time()
        has_expired = held.held_since <= max(now - HOLD_SECS, self._released_at)
        if held.is_lost or has_expired or self._pool.is_needed:
            self._start_to_return(held)
            return
        self._idle.append(held)
        if self._timer is None:
            loop = asyncio.get_running_loop()
            # See `HeldConnection.open` for the context.
            self._timer = loop.call_later(
                HOLD_SECS, self._return_expired, context=Context()
            )

    def lend(self) -> AsyncConnection[DictRow] | None:
        """A connection for others, if one is idle."""
        if not self._idle:
            return None
        held = self._idle.pop(0)
        held.close()
        return held.connection

    async def release(self) -> None:
        """Return all connections to the pool: idle ones now, others after their use."""
        self._released_at = asyncio.get_running_loop().time()
        while connection := self.lend():
            await self._pool.putconn(connection)
        if self._timer:
            self._timer.cancel()
            self._timer = None

    def _return_expired(self) -> None:
        idle, self._idle, self._timer = self._idle, [], None
        for held in idle:
            self.put_back(held)

    def _lose(self, held: HeldConnection) -> None:
        if held in self._idle:  # Else its statement fails, and it is put back.
            self._idle.remove(held)
            self._start_to_return(held)

    def _start_to_return(self, held: HeldConnection) -> None:
        held.close()
        returning = asyncio.create_task(self._pool.putconn(held.connection))
        self._returning.add(returning)
        returning.add_done_callback(self._returning.discard)


class Pool(AsyncConnectionPool[AsyncConnection[DictRow]]):
    """A pool of connections, and a shorter way for statements of the hot path."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.held = Held(self)

    async def fetch_one(
        self, statement: str, values: Mapping[str, Any]
    ) -> DictRow | None:
        """The first row of a statement outside of a transaction; None if there is none.

        A statement whose caller is cancelled goes on.
        """
        held = await self.held.take()
        try:
            return await held.fetch_one(statement, values)
        finally:
            held.call_at_end(partial(self.held.put_back, held))

    @property
    def is_needed(self) -> bool:
        """Whether others wait for a connection."""
        return self.closed or self.get_stats()["requests_waiting"] > 0

    async def getconn(self, timeout: float | None = None) -> AsyncConnection[DictRow]:
        is_empty = self.held.idle_count and not self.get_stats()["pool_available"]
        if is_empty and (connection := self.held.lend()):
            return connection
        return await super().getconn(timeout)

    async def drain(self) -> None:
        await self.held.release()
        await super().drain()

    async def close(self, timeout: float = 5.0) -> None:
        await self.held.release()
        await super().close(timeout)
