"""Refuse requests before they reach Spool's routes or the operator's app."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, MutableMapping
from functools import cache
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.http.request import split_domain_port, validate_host

from spool.config.access_mode import is_exposed, is_loopback, is_open
from spool.database.json import dumps
from spool.web import cors, inside

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

logger = logging.getLogger(__name__)

# Size of all headers together: far more than clients send.
HEADERS_MAX_BYTES = 64 * 2**10
FOREIGN_HOST = (
    "Authentication is off, so only the names of this machine are accepted: add the "
    "name to ALLOWED_HOSTS to allow it"
)
FOREIGN_ORIGIN = (
    "Authentication is off, so pages of other sites are refused: add their origin to "
    "CORS_ALLOW_ORIGINS to allow them"
)
EXPOSED = (
    "Authentication is off, so only this machine is accepted: set SPOOL_AUTH, or "
    "SPOOL_ALLOW_OPEN=true to allow others"
)


class Gate:
    def __init__(self, app: App) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan" and (refused := _refusal(scope)):
            await answer(scope, receive, send, *refused)
        elif scope["type"] == "lifespan":
            await self.app(scope, receive, send)
        else:
            # The request's code may call the API from inside, as the request's caller.
            with inside.acting(inside.OfRequest(scope)):
                await self.app(scope, receive, send)


def _refusal(scope: Scope) -> tuple[int, str] | None:
    if is_exposed(scope.get("server")):
        _tell_once(EXPOSED)
        return 403, EXPOSED
    if is_open() and (refused := _refusal_where_open(scope)):
        return 403, refused
    if sum(len(name) + len(value) for name, value in scope["headers"]) > (
        HEADERS_MAX_BYTES
    ):
        return 431, "Request Header Fields Too Large"
    return None


def _refusal_where_open(scope: Scope) -> str | None:
    """Why a page may not call a server without access control; None if it may.

    A page of another site is recognised by `Origin`; a page whose name resolves to this
    machine (DNS rebinding) by `Host`.
    """
    headers = dict(scope["headers"])
    host = headers.get(b"host", b"").decode("latin-1").lower()
    if host and _is_loopback_server(scope) and not _is_ours(host):
        return FOREIGN_HOST
    origin = headers.get(b"origin", b"").decode("latin-1")
    is_own_page = origin.partition("://")[2].lower() == host
    if origin and not is_own_page and not cors.rules().allows_origin(origin):
        return FOREIGN_ORIGIN
    return None


def _is_loopback_server(scope: Scope) -> bool:
    server = scope.get("server")
    return bool(server and is_loopback(settings.HOST) and is_loopback(str(server[0])))


def _is_ours(host: str) -> bool:
    name, _ = split_domain_port(host)
    if is_loopback(name) or name.endswith(".localhost"):
        return True
    named = [
        *settings.NAMED_HOSTS,
        urlsplit(settings.PUBLIC_URL).hostname or "localhost",
    ]
    return validate_host(name, named)


async def answer(
    scope: Scope, receive: Receive, send: Send, status: int, detail: str
) -> None:
    await answer_json(scope, receive, send, status, {"detail": detail})


async def answer_json(
    scope: Scope, receive: Receive, send: Send, status: int, body: dict[str, Any]
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
    await send({"type": "http.response.body", "body": dumps(body)})


@cache
def _tell_once(message: str) -> None:
    logger.error(message)
