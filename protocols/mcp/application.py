"""The ASGI application below `/mcp`, loaded at its first request."""

from __future__ import annotations

import asyncio
from typing import Any

from django.conf import settings
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp.shared.inbound import MCP_PROTOCOL_VERSION_HEADER
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS

from spool.protocols.mcp import handshake
from spool.protocols.mcp.server import new_server
from spool.protocols.mcp.signals import close_signals
from spool.web.guards import Receive, Scope, Send

VERSION_HEADER = MCP_PROTOCOL_VERSION_HEADER.encode("ascii")


class Application:
    """The application of one event loop, since the library's tasks belong to a loop."""

    def __init__(self) -> None:
        self._server = new_server()
        self._manager = StreamableHTTPSessionManager(
            self._server,
            stateless=True,
            max_request_body_size=settings.REQUEST_MAX_BYTES,
        )
        self._is_ready = asyncio.Event()
        self._running = asyncio.create_task(self._run())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        version = _version(scope)
        if version is None or version in HANDSHAKE_PROTOCOL_VERSIONS:
            await handshake.serve(self._server, scope, receive, send)
            return
        await self._is_ready.wait()
        await self._manager.handle_request(scope, receive, send)

    async def close(self) -> None:
        self._running.cancel()
        await asyncio.wait([self._running])
        await close_signals()

    async def _run(self) -> None:
        """Keep the library's task group open, in which its requests start tasks."""
        async with self._manager.run():
            self._is_ready.set()
            await asyncio.Event().wait()


def _version(scope: Scope) -> str | None:
    for name, value in scope["headers"]:
        if name == VERSION_HEADER:
            return str(value.decode("latin-1"))
    return None


_applications: dict[asyncio.AbstractEventLoop, Application] = {}


async def application(scope: Scope, receive: Receive, send: Send) -> None:
    loop: Any = asyncio.get_running_loop()
    if loop not in _applications:
        _applications[loop] = Application()
    await _applications[loop](scope, receive, send)


async def close() -> None:
    """Close the running event loop's application, before the loop ends."""
    if found := _applications.pop(asyncio.get_running_loop(), None):
        await found.close()
