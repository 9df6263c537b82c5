"""Responses of views that an ASGI application produces, such as a protocol's library.

The view is an ordinary one: its caller is authenticated and rate-limited, and its route
is in `/openapi.json`. The application runs on the event loop, after the view has
released its thread.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextvars import copy_context
from typing import Any

from django.http import HttpRequest, StreamingHttpResponse
from django.utils.cache import patch_vary_headers
from rest_framework.request import Request

from spool.database.json import dumps
from spool.web.guards import App, Message, Receive, Scope, Send

logger = logging.getLogger(__name__)

# Where the application finds the view's request, with its caller.
REQUEST = "spool.request"


class UnfinishedAnswer(OSError):
    """The application ended in the middle of its response: the connection must be cut.

    It is an `OSError`, of which servers log no traceback: a server that stops ends all
    of its streams this way.
    """


class ASGIResponse(StreamingHttpResponse):
    """What `app` answers to `request`.

    If the client disconnects, the application is cancelled, unless `outlives_client`:
    then the application receives `http.disconnect`, as usual.

    `spool.web.handler` calls `serve`. Under Django's own handlers and its test client it is
    a stream with the status 200, whatever the application says.
    """

    def __init__(
        self, request: Request, app: App, *, outlives_client: bool = False
    ) -> None:
        super().__init__(self._parts())
        del self.headers["Content-Type"]  # The application sets its own.
        self._app = app
        self._request = request
        self._outlives_client = outlives_client
        self._body: bytes = request.body
        # It contains the caller, for the log.
        self._context = copy_context()

    async def serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the application's response, with the headers that middleware has added."""
        messages = receive if self._outlives_client else _never
        running = self._start(scope, messages, _Answer(send, self))
        leaving = asyncio.create_task(
            _never() if self._outlives_client else _disconnect(receive)
        )
        try:
            await asyncio.wait((running, leaving), return_when=asyncio.FIRST_COMPLETED)
        finally:
            leaving.cancel()
            running.cancel()
            await asyncio.wait((running, leaving))
        if not running.cancelled():
            running.result()

    def _start(
        self, scope: Scope, receive: Receive, answer: _Answer
    ) -> asyncio.Task[None]:
        running = self._run(scope, _after_body(self._body, receive), answer)
        return asyncio.create_task(running, context=self._context)

    async def _run(self, scope: Scope, receive: Receive, answer: _Answer) -> None:
        scope = {**scope, REQUEST: self._request}
        try:
            await self._app(scope, receive, answer.send)
        except Exception:
            logger.exception("%s %s failed", scope["method"], scope["path"])
        await answer.finish()

    async def _parts(self) -> AsyncIterator[bytes]:
        """Yield the parts of the body."""
        request: HttpRequest = self._request._request
        scope = request.scope if hasattr(request, "scope") else _scope_of(request)
        parts: asyncio.Queue[Message] = asyncio.Queue()
        answer = _Answer(parts.put, self)
        running = self._start(scope, _never, answer)
        running.add_done_callback(lambda _: parts.put_nowait({"type": "end"}))
        try:
            while (message := await parts.get())["type"] != "end":
                if message["type"] == "http.response.body":
                    yield message.get("body", b"")
            running.result()
        finally:
            running.cancel()
            await asyncio.wait((running,))


class _Answer:
    """The state of a response: what the application has sent, and what is missing."""

    def __init__(self, send: Send, response: ASGIResponse) -> None:
        self._send = send
        self._response = response
        self._has_started = False
        self._has_ended = False

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._has_started = True
            message = {**message, "headers": self._headers(message.get("headers", ()))}
        elif message["type"] == "http.response.body":
            self._has_ended = not message.get("more_body", False)
        await self._send(message)

    async def finish(self) -> None:
        """Send an error if the application has sent nothing.

        Raises `UnfinishedAnswer` for an incomplete response: a clean end would tell the
        client that the response is complete.
        """
        if self._has_started and not self._has_ended:
            raise UnfinishedAnswer
        if not self._has_started:
            headers = [(b"content-type", b"application/json")]
            start = {"type": "http.response.start", "status": 500, "headers": headers}
            body = dumps({"detail": "Internal Server Error"})
            await self.send(start)
            await self.send({"type": "http.response.body", "body": body})

    def _headers(self, given: Any) -> list[tuple[bytes, bytes]]:
        """Merge headers: the application's override the middleware's, except `Vary`."""
        own = [(name.lower(), value) for name, value in given]
        for name, value in own:
            if name == b"vary":
                patch_vary_headers(self._response, value.decode("latin-1").split(","))
        own = [header for header in own if header[0] != b"vary"]
        named = {name for name, _ in own}
        added = [
            (name.lower().encode("ascii"), value.encode("latin-1"))
            for name, value in self._response.items()
        ]
        return [*own, *(header for header in added if header[0] not in named)]


def request_of(scope: Scope) -> Request:
    """The request of the view whose response the application produces."""
    request: Request = scope[REQUEST]
    return request


def _after_body(body: bytes, receive: Receive) -> Receive:
    """A `receive` that returns the body, already read, and then further messages."""
    waiting: list[Message] = [
        {"type": "http.request", "body": body, "more_body": False}
    ]

    async def receive_again() -> Message:
        return waiting.pop() if waiting else await receive()

    return receive_again


async def _never() -> Message:
    """A `receive` that never returns: the client sends nothing more."""
    nothing: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
    return await nothing


async def _disconnect(receive: Receive) -> Message:
    while (message := await receive())["type"] != "http.disconnect":
        pass
    return message


def _scope_of(request: HttpRequest) -> Scope:
    """An ASGI scope for a request that was not received over ASGI."""
    headers = [
        (name.lower().encode("ascii"), value.encode("latin-1"))
        for name, value in request.headers.items()
    ]
    return {
        "type": "http",
        "method": request.method,
        "path": request.path,
        "root_path": "",
        "query_string": request.META.get("QUERY_STRING", "").encode(),
        "headers": headers,
        "scheme": request.scheme,
        "server": (request.META.get("SERVER_NAME", ""), None),
    }
