"""What is refused before anybody looks at it, be it for us or for the operator's app."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, MutableMapping
from functools import cache
from typing import Any

from spool.config.access_mode import is_exposed
from spool.database.json import dumps

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

logger = logging.getLogger(__name__)

# Names and values of all headers together: many times what any client sends.
HEADERS_MAX_BYTES = 64 * 2**10
EXPOSED = (
    "Nobody has to log in here, so only this machine is answered: set SPOOL_AUTH, or "
    "SPOOL_ALLOW_OPEN=true if that is meant"
)


class Gate:
    def __init__(self, app: App) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan" and (refused := _refusal(scope)):
            await answer(scope, receive, send, *refused)
        else:
            await self.app(scope, receive, send)


def _refusal(scope: Scope) -> tuple[int, str] | None:
    if is_exposed(scope.get("server")):
        _tell_once(EXPOSED)
        return 403, EXPOSED
    if sum(len(name) + len(value) for name, value in scope["headers"]) > (
        HEADERS_MAX_BYTES
    ):
        return 431, "Request Header Fields Too Large"
    return None


async def answer(
    scope: Scope, receive: Receive, send: Send, status: int, detail: str
) -> None:
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.close", "code": 4000 + status})
        return
    headers = [
        (b"content-type", b"application/json"),
        (b"cache-control", b"no-store"),
        (b"x-content-type-options", b"nosniff"),
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": dumps({"detail": detail})})


@cache
def _tell_once(message: str) -> None:
    logger.error(message)
