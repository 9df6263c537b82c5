"""An asyncio loop in a separate thread, with a Postgres pool, which runs graphs.

Spool's Django code is synchronous, but graphs are asynchronous. Synchronous code
submits a coroutine to the process's loop and waits for it.
"""

from __future__ import annotations

import asyncio
import atexit
import threading
from collections.abc import Coroutine
from functools import cache
from typing import Any, TypeVar
from weakref import WeakSet

from django.conf import settings
from django.db import connections
from psycopg import AsyncConnection, Error
from psycopg.conninfo import make_conninfo
from psycopg.rows import DictRow, dict_row
from psycopg.types.json import set_json_dumps

from spool.database.json import dumps
from spool.database.pool import Pool

T = TypeVar("T")

_open_pools: set[Pool] = set()


def conninfo() -> str:
    """The database that Django uses now, which is the test database in tests."""
    given = dict(settings.DATABASE_CONNINFO)
    given["dbname"] = connections["default"].settings_dict["NAME"]
    return make_conninfo("", **given)


def new_pool(size: int, *, checks: bool) -> Pool:
    """A closed pool of autocommit connections. Open it on the loop that uses it.

    `checks`: check that a connection is alive before it is used. Without checks, the
    first statement on a dead connection fails, so callers have to retry.
    """

    async def check(conn: AsyncConnection[DictRow]) -> None:
        try:
            await Pool.check_connection(conn)
        except Error:
            # The pool's idle connections are broken too: replace them, to save retries.
            await pool.check()
            raise

    async def configure(conn: AsyncConnection[DictRow]) -> None:
        # JSON that the checkpointer writes may contain text that Postgres refuses.
        set_json_dumps(dumps, conn)

    pool = Pool(
        conninfo(),
        configure=configure,
        min_size=1,
        max_size=size,
        open=False,
        timeout=30,
        check=check if checks else None,
        kwargs={
            "autocommit": True,
            "row_factory": dict_row,
            "prepare_threshold": 2 if settings.DATABASE_PREPARED_STATEMENTS else None,
        },
    )
    return pool


class _EventLoop(asyncio.SelectorEventLoop):
    """Releases the context of a timer that is cancelled.

    asyncio keeps cancelled timers until they would be due, or half of more than a hundred
    timers are cancelled: the timeouts of a graph's calls would keep its run's input and
    state, which the context leads to, for minutes.
    """

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        super()._timer_handle_cancelled(handle)  # type: ignore[misc]
        handle._context = None  # type: ignore[attr-defined]


class Loop:
    """A running loop with an open `pool`."""

    pool: Pool

    def __init__(self, *, name: str, pool_size: int, checks: bool = False) -> None:
        self.asyncio_loop = _EventLoop()
        self._tasks: set[asyncio.Task[None]] = set()
        self._thread = threading.Thread(
            target=self._keep_running, name=name, daemon=True
        )
        self._thread.start()
        self.run(self._open_pool(pool_size, checks))
        _loops.add(self)

    def _keep_running(self) -> None:
        """Run the loop until `close`, even if a graph raises `SystemExit`."""
        while True:
            try:
                self.asyncio_loop.run_forever()
                return
            except (SystemExit, KeyboardInterrupt):
                # asyncio fails the task with these, and then raises them from its loop.
                continue

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run `coroutine` on the loop, and wait for it from another thread."""
        return asyncio.run_coroutine_threadsafe(coroutine, self.asyncio_loop).result()

    def start(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Start `coroutine` on the loop from another thread, without waiting for it."""
        self.asyncio_loop.call_soon_threadsafe(self._begin, coroutine)

    def _begin(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = self.asyncio_loop.create_task(coroutine)
        # Keep a reference, since a loop refers to its tasks only weakly.
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def replace_connections(self) -> None:
        """Close the pool's connections, each once it is idle; see `buffers`."""
        asyncio.run_coroutine_threadsafe(self.pool.drain(), self.asyncio_loop)

    def close(self) -> None:
        _loops.discard(self)
        if self.asyncio_loop.is_closed():
            return
        self.run(self._end())
        self.asyncio_loop.call_soon_threadsafe(self.asyncio_loop.stop)
        self._thread.join()
        self.asyncio_loop.close()

    async def _end(self) -> None:
        _open_pools.discard(self.pool)
        await self.pool.close()
        left = asyncio.all_tasks() - {asyncio.current_task()}
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)

    async def _open_pool(self, size: int, checks: bool) -> None:
        self.pool = new_pool(size, checks=checks)
        await self.pool.open()
        _open_pools.add(self.pool)


def open_pools() -> list[Pool]:
    """The pools of all loops of this process."""
    return list(_open_pools)


_loops: WeakSet[Loop] = WeakSet()
_starting = threading.Lock()


def replace_connections() -> None:
    """Replace the connections of all running loops."""
    for loop in list(_loops):
        loop.replace_connections()


def shared_loop() -> Loop:
    """The process's loop, started on first use."""
    # Without a lock, concurrent threads would each start a loop.
    with _starting:
        return _started()


def close_shared_loop() -> None:
    """Stop the loop if it runs; the next use starts a new one."""
    with _starting:
        if _started.cache_info().currsize:
            _started().close()
            _started.cache_clear()


@cache
def _started() -> Loop:
    size = settings.CHECKPOINT_POOL_SIZE
    loop = Loop(name="spool-loop", pool_size=size, checks=True)
    atexit.register(close_shared_loop)
    return loop
