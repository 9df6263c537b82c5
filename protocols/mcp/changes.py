"""`subscriptions/listen` of 2026-07-28: notify a client when its list of tools changes.

A change of an assistant is published without its owner. Each listener then reads its
own caller's list, and notifies the client only if that list has changed, so that
callers learn nothing about other owners.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from mcp.server.subscriptions import ListenHandler, ServerEvent, ToolsListChanged
from mcp_types import SubscriptionsListenRequestParams, SubscriptionsListenResult
from rest_framework.request import Request

from spool.protocols.mcp.callers import Context, view_request
from spool.protocols.mcp.signals import signals
from spool.protocols.mcp.tools import list_digest
from spool.web.thread_pool import database_threads

logger = logging.getLogger(__name__)

# Changes within this time cause one comparison.
GATHER_SECS = 0.1


async def listen_to_changes(
    context: Context, params: SubscriptionsListenRequestParams
) -> SubscriptionsListenResult:
    request = view_request(context)
    # Read it before the client gets the confirmation, so that no change is missed.
    digest = await database_threads.query(list_digest, request)
    return await ListenHandler(CallerChanges(request, digest))(context, params)


class CallerChanges:
    """The event bus that the library needs, for one listener."""

    def __init__(self, request: Request, digest: str) -> None:
        self._request = request
        self._digest = digest
        self._changed = asyncio.Event()

    async def publish(self, event: ServerEvent) -> None:
        """Not used: an assistant may be changed in another process."""
        raise NotImplementedError

    def subscribe(self, listener: Callable[[ServerEvent], None]) -> Callable[[], None]:
        watching = asyncio.create_task(self._watch(listener))

        def unsubscribe() -> None:
            watching.cancel()

        return unsubscribe

    async def _watch(self, listener: Callable[[ServerEvent], None]) -> None:
        self._changed.set()  # There may have been a change since the digest was read.
        with signals().listening(self._changed.set):
            while True:
                await self._changed.wait()
                await asyncio.sleep(GATHER_SECS)
                self._changed.clear()
                if await self._is_new():
                    listener(ToolsListChanged())

    async def _is_new(self) -> bool:
        try:
            digest = await database_threads.query(list_digest, self._request)
        except Exception:  # Postgres may be unavailable; the next change tries again.
            logger.exception("mcp: could not read the list of tools")
            return False
        is_new, self._digest = digest != self._digest, digest
        return is_new
