"""The threads of the web process that may use the database, and their connections.

One pool serves requests and queries of streams on the event loop, so that its size limits
the connections of the process.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from contextvars import Context, copy_context
from functools import partial
from queue import SimpleQueue
from threading import Thread
from typing import Any, ParamSpec, TypeVar

from django.conf import settings
from django.db import close_old_connections, connections
from django.db.backends.base.base import BaseDatabaseWrapper

P = ParamSpec("P")
T = TypeVar("T")


class DatabaseThreads:
    """Runs synchronous functions for coroutines; opens its threads when needed.

    A queue and one callback for each function cost a third of what an executor does,
    whose futures have locks.
    """

    def __init__(self) -> None:
        self._calls: SimpleQueue[_Call | None] = SimpleQueue()
        self._threads: list[Thread] = []
        self._connections: list[BaseDatabaseWrapper] = []
        # Functions that are running, or wait for a thread. Only the event loop counts.
        self.active = 0

    async def run(
        self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Call `function` on one of the threads, in a copy of the context."""
        call = _Call(partial(function, *args, **kwargs))
        self.active += 1
        try:
            if len(self._threads) < min(self.active, settings.WEB_THREADS):
                self._start_thread()
            self._calls.put(call)
            result: T = await call.future
            return result
        finally:
            self.active -= 1

    async def query(
        self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Like `run`, but closes expired connections, as Django does after requests."""

        def call() -> T:
            close_old_connections()
            return function(*args, **kwargs)

        return await self.run(call)

    def replace_connections(self) -> None:
        """Let idle threads close obsolete connections; busy ones do so on their own."""
        for _ in self._threads:
            self._calls.put(_Call(_close_obsolete, waits=False))

    def close(self) -> None:
        """Wait for running functions, then return the connections."""
        for _ in self._threads:
            self._calls.put(None)
        while self._threads:
            self._threads.pop().join()
        while self._connections:
            connection = self._connections.pop()
            connection.inc_thread_sharing()
            connection.close()

    def _start_thread(self) -> None:
        name = f"spool-web_{len(self._threads)}"
        # A daemon: a process that ends waits for `close`, but not for its threads.
        thread = Thread(target=self._work, name=name, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _work(self) -> None:
        self._connections.append(connections["default"])
        while (call := self._calls.get()) is not None:
            call.run()
            # Otherwise its request and response would live until the next call.
            del call


class _Call:
    """A function, called on a thread, and the future that its coroutine awaits."""

    def __init__(self, function: Callable[[], Any], *, waits: bool = True) -> None:
        self._function = function
        # A request's context variables must not be visible to the thread's next one.
        self._context: Context = copy_context()
        if waits:
            self._loop = asyncio.get_running_loop()
            self.future: asyncio.Future[Any] = self._loop.create_future()
        self._waits = waits

    def run(self) -> None:
        if not self._waits:
            self._function()
            return
        if self.future.cancelled():
            return
        try:
            result = self._context.run(self._function)
        except BaseException as exc:  # `SystemExit`, too: the coroutine gets it.
            self._end(self.future.set_exception, exc)
        else:
            self._end(self.future.set_result, result)

    def _end(self, end: Callable[[Any], None], value: Any) -> None:
        # The loop may have stopped without waiting for its coroutines.
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._end_unless_cancelled, end, value)

    def _end_unless_cancelled(self, end: Callable[[Any], None], value: Any) -> None:
        if not self.future.done():
            end(value)


def _close_obsolete() -> None:
    close_old_connections()
    # Sleep long enough for the other idle threads to take the other calls.
    time.sleep(0.01)


database_threads = DatabaseThreads()
