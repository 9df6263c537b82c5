"""The connection pool of an event loop. Some connections are held for the hot path.

psycopg's pool checks a connection out and in for each statement, and psycopg's cursor
waits for each answer with a separate timeout and event. Together this costs three times
as much as a prepared statement here. `Pool.fetch_one` keeps the connections that it has
used, and reads answers in a callback of the loop. If the pool has no other connection
left, its other users get a held one, so that holding does not reduce their number.
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

# How long a connection is held. Then the pool may close it, because of its age, for
# example.
HOLD_SECS = 60.0


class JSONLoader(Loader):
    def load(self, data: Any) -> Any:
        return from_jsonb(bytes(data))


LOADERS = (("json", JSONLoader), ("jsonb", JSONLoader))


# The names of prepared statements by connection. They stay while psycopg uses it.
_names: WeakKeyDictionary[AsyncConnection[DictRow], dict[bytes, bytes]]
_names = WeakKeyDictionary()
_numbers = count()


class HeldConnection:
    """An open connection of an event loop, for one statement at a time.

    `on_loss` is called if the connection is lost while no statement waits for a result.
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
        # The results of the statement that is being executed, and the future for them.
        self._results: list[PGresult] = []
        self._waiting: asyncio.Future[PGresult] | None = None
        self._on_end: Callable[[], None] | None = None
        # Whether the loop calls `_flush` when the socket is writable.
        self._is_writing = False
        self.held_since = 0.0

    def open(self) -> None:
        self.held_since = self._loop.time()
        # Not in the context of a run, which would be kept as long.
        Context().run(self._loop.add_reader, self._socket, self._read)

    def close(self) -> None:
        """Stop using the connection, so that psycopg can use it."""
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
        """Flush what was sent. Returns a future for its result."""
        self._waiting = waiting = self._loop.create_future()
        self._flush()
        return waiting

    def _flush(self) -> None:
        try:
            is_left = self._pgconn.flush()
        except Error as exc:
            self._fail(exc)
            return
        if is_left:  # The socket does not accept everything at once.
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
        if waiting and not waiting.done():  # If done, its caller was cancelled.
            if exc or not results:
                waiting.set_exception(exc or OperationalError("there is no result"))
            else:
                waiting.set_result(results[-1])
        if on_end := self._on_end:
            self._on_end = None
            on_end()

    def _fail(self, exc: Exception) -> None:
        """Pass on an error that has made the connection unusable."""
        self.close()
        if self._waiting:
            self._end(exc)
        else:
            self._on_loss(self)


class Held:
    """The connections of a pool that are held for the hot path."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        # Connections without a statement. The last one used is used next.
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
        """A connection for other users of the pool; None if none is idle."""
        if not self._idle:
            return None
        held = self._idle.pop(0)
        held.close()
        return held.connection

    async def release(self) -> None:
        """Return connections to the pool: idle ones now, others once they are idle."""
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
        if held in self._idle:  # Otherwise its statement fails and returns it.
            self._idle.remove(held)
            self._start_to_return(held)

    def _start_to_return(self, held: HeldConnection) -> None:
        held.close()
        returning = asyncio.create_task(self._pool.putconn(held.connection))
        self._returning.add(returning)
        returning.add_done_callback(self._returning.discard)


class Pool(AsyncConnectionPool[AsyncConnection[DictRow]]):
    """A connection pool with a faster method for statements of the hot path."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.held = Held(self)

    async def fetch_one(
        self, statement: str, values: Mapping[str, Any]
    ) -> DictRow | None:
        """The first row of a statement outside of a transaction; None if there is none.

        If the caller is cancelled, the statement is still executed.
        """
        held = await self.held.take()
        try:
            return await held.fetch_one(statement, values)
        finally:
            held.call_at_end(partial(self.held.put_back, held))

    @property
    def is_needed(self) -> bool:
        """Whether other users of the pool wait for a connection."""
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
