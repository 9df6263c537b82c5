"""`subscriptions/listen` of 2026-07-28: notify a client when its list of tools changes.

A change of assistants is published without their owner. Each listener then compares its
own caller's list, and notifies the client only if that has changed, so that callers learn
nothing about other owners.
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

# Changes that come together are looked at together, after so many seconds.
GATHER_SECS = 0.1


async def listen_to_changes(
    context: Context, params: SubscriptionsListenRequestParams
) -> SubscriptionsListenResult:
    request = view_request(context)
    # Read before the client gets the confirmation, so that later changes are found.
    digest = await database_threads.query(list_digest, request)
    return await ListenHandler(CallerChanges(request, digest))(context, params)


class CallerChanges:
    """The library's bus of events, for one listener."""

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
        self._changed.set()  # Since the digest was made.
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
        except Exception:  # Postgres may be away; the next change finds it again.
            logger.exception("mcp: could not read the list of tools")
            return False
        is_new, self._digest = digest != self._digest, digest
        return is_new
