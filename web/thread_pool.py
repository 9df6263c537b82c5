"""The threads of the web process that may use the database, and their connections.

One pool serves requests and queries of streams on the event loop, so that its size limits
the connections of the process.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import ParamSpec, TypeVar

from django.conf import settings
from django.db import close_old_connections, connections
from django.db.backends.base.base import BaseDatabaseWrapper

P = ParamSpec("P")
T = TypeVar("T")


class DatabaseThreads:
    """Runs synchronous functions for coroutines; opens its threads when needed."""

    def __init__(self) -> None:
        self._executor: ThreadPoolExecutor | None = None
        self._connections: list[BaseDatabaseWrapper] = []
        # Functions that are running, or wait for a thread. Only the event loop counts.
        self.active = 0

    async def run(
        self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Call `function` on one of the threads, in a context of its own."""
        # Context variables of a request must not be visible to the thread's next one.
        context = copy_context()
        self.active += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(
                self._started(), lambda: context.run(function, *args, **kwargs)
            )
        finally:
            self.active -= 1

    async def query(
        self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """The same outside a request, where Django closes no expired connections."""

        def call() -> T:
            close_old_connections()
            return function(*args, **kwargs)

        return await self.run(call)

    def replace_connections(self) -> None:
        """Let idle threads close obsolete connections, which others do on their own."""
        for _ in self._connections if self._executor else ():
            self._started().submit(_close_obsolete)

    def close(self) -> None:
        """Wait for running functions, then return the connections."""
        if self._executor:
            self._executor.shutdown()
            self._executor = None
        while self._connections:
            connection = self._connections.pop()
            connection.inc_thread_sharing()
            connection.close()

    def _started(self) -> ThreadPoolExecutor:
        if self._executor is None:
            self._executor = ThreadPoolExecutor(
                settings.WEB_THREADS,
                thread_name_prefix="spool-web",
                initializer=self._remember_connection,
            )
        return self._executor

    def _remember_connection(self) -> None:
        self._connections.append(connections["default"])


def _close_obsolete() -> None:
    close_old_connections()
    # Long enough for the other idle threads to take the other tasks.
    time.sleep(0.01)


database_threads = DatabaseThreads()
