"""The ASGI application that serves Django's part of a web process.

Django's own ASGI handler starts a thread for each request and hops into it for every
signal. This one hands the whole synchronous chain (signals, middleware, view) to a
shared pool of threads in one hop. A streaming response with an asynchronous iterator
is iterated on the event loop, so that a viewer holds neither a thread nor a database
connection; when its client goes away, the iterator is closed.

Everything also works under `django.core.asgi`, but slower.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    MutableMapping,
    Sequence,
)
from contextlib import suppress
from io import BytesIO
from tempfile import SpooledTemporaryFile
from threading import Lock
from typing import IO, Any, TypeVar, cast

from django.conf import settings
from django.core import signals
from django.core.handlers.asgi import ASGIRequest, get_script_prefix
from django.core.handlers.base import BaseHandler
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.urls import ResolverMatch, get_resolver, set_script_prefix

from spool.telemetry import logs
from spool.web import cors, errors, hooks
from spool.web.asgi_response import ASGIResponse
from spool.web.request_ids import NameRequests
from spool.web.routing import routes_of
from spool.web.thread_pool import DatabaseThreads, database_threads

T = TypeVar("T")
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

logger = logging.getLogger(__name__)

# The paths of pages and their files, which have additional middleware.
FOR_BROWSERS = ("/admin", "/static/")
# Bodies up to this size mostly arrive at once.
IN_ONE_PIECE = 2**16
# Held while a handler loads the API's middleware, which changes `settings.MIDDLEWARE`.
_loading = Lock()


class BodyTooLarge(Exception):
    """The request's body is over `settings.REQUEST_MAX_BYTES`."""


class ClientGone(Exception):
    """The client went away before its request was complete."""


class APIHandler(BaseHandler):
    """Django's handler, without the middleware for browsers' pages."""

    def __init__(self) -> None:
        super().__init__()
        with _loading:
            everything = settings.MIDDLEWARE
            settings.MIDDLEWARE = settings.MIDDLEWARE_OF_API
            try:
                self.load_middleware()
            finally:
                settings.MIDDLEWARE = everything

    def resolve_request(self, request: HttpRequest) -> ResolverMatch:
        match = routes_of(get_resolver()).find(request.path_info)
        if match is None:
            return super().resolve_request(request)
        request.resolver_match = match
        return match


class Handler(BaseHandler):
    """Django's part. Requests run on `threads`, by default those of the web process."""

    def __init__(self, threads: DatabaseThreads = database_threads) -> None:
        super().__init__()
        self._threads = threads
        self._api = APIHandler()
        with _loading:
            self.load_middleware()
        # A broken URLconf stops the start, not the first request.
        _ = get_resolver().url_patterns

    async def __call__(
        self, scope: MutableMapping[str, Any], receive: Receive, send: Send
    ) -> None:
        body: IO[bytes] | None
        try:
            body = await _read_body(scope, receive)
        except BodyTooLarge:
            body = None
        except ClientGone:
            return
        response = await self._threads.run(self._respond, scope, body)
        # A server may raise an OSError if its client is gone.
        with suppress(OSError):
            if isinstance(response, ASGIResponse):
                await self._delegate(response, scope, receive, send)
            elif isinstance(response, StreamingHttpResponse):
                await self._stream(response, receive, send)
            else:
                await send(_start(response))
                content = cast(HttpResponse, response).content
                await send({"type": "http.response.body", "body": content})

    def _respond(
        self, scope: MutableMapping[str, Any], body: IO[bytes] | None
    ) -> HttpResponseBase:
        """Run all of Django's part. After that, only a stream remains to be sent."""
        set_script_prefix(get_script_prefix(scope))
        signals.request_started.send(sender=self.__class__, scope=scope)
        try:
            request = ASGIRequest(scope, body or BytesIO())
        except UnicodeDecodeError:
            cast("IO[bytes]", body).close()
            return errors.answer(400, "Bad Request")
        if body is None:
            named = NameRequests(lambda _: errors.too_large())
            return cors.with_headers(request, named(request))
        if "CONTENT_LENGTH" not in request.META:
            # A chunked body has no length, and REST framework treats a body without
            # a length as empty.
            request.META["CONTENT_LENGTH"] = str(body.seek(0, os.SEEK_END))
            body.seek(0)
        handler = self if request.path_info.startswith(FOR_BROWSERS) else self._api
        response = handler.get_response(request)
        if response.streaming:
            _release(request, response)
        else:
            response.close()
        return response

    async def _delegate(
        self,
        response: ASGIResponse,
        scope: MutableMapping[str, Any],
        receive: Receive,
        send: Send,
    ) -> None:
        try:
            await response.serve(scope, receive, send)
        finally:
            response.close()

    async def _stream(
        self, response: StreamingHttpResponse, receive: Receive, send: Send
    ) -> None:
        sending = asyncio.ensure_future(self._send_stream(response, send))
        gone = asyncio.ensure_future(_disconnect(receive))
        try:
            await asyncio.wait((sending, gone), return_when=asyncio.FIRST_COMPLETED)
        finally:
            sending.cancel()
            gone.cancel()
            await asyncio.wait((sending, gone))
            response.close()
        if not sending.cancelled():
            # A failure in mid-stream must cut the connection: a clean end would
            # tell the client that the response is complete.
            sending.result()

    async def _send_stream(self, response: StreamingHttpResponse, send: Send) -> None:
        if response.is_async:
            # Not `streaming_content`: its wrappers don't close the view's
            # generator, which would be left to the garbage collector.
            iterator = response._iterator  # type: ignore[attr-defined]
            try:
                await send(_start(response))
                async for part in iterator:
                    await send(_more(response.make_bytes(part)))
            except OSError:
                await _begin(iterator)
                raise
            finally:
                if aclose := getattr(iterator, "aclose", None):
                    await aclose()
        else:
            await send(_start(response))
            chunks = iter(cast("Any", response))
            while (chunk := await self._threads.run(next, chunks, None)) is not None:
                await send(_more(chunk))
        await send({"type": "http.response.body"})


class Application:
    """The ASGI application: HTTP to Django, and the server's start and stop.

    `on_start` functions are called in order before the first request; if one exits, the
    start fails with its text. `on_stop` are awaited once no request is left.
    """

    def __init__(
        self,
        *,
        on_start: Sequence[Callable[[], None]] = (),
        on_stop: Sequence[Callable[[], Awaitable[None]]] = (),
    ) -> None:
        self.handler = Handler()
        self._on_start = on_start
        self._on_stop = on_stop

    async def __call__(
        self, scope: MutableMapping[str, Any], receive: Receive, send: Send
    ) -> None:
        if scope["type"] == "http":
            await self.handler(scope, receive, send)
        elif scope["type"] == "websocket":
            await hooks.serve_websocket(scope, receive, send)
        elif scope["type"] == "lifespan":
            await self._lifespan(receive, send)

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        await receive()
        try:
            await database_threads.run(self._start)
        except SystemExit as exc:
            await send({"type": "lifespan.startup.failed", "message": str(exc)})
            return
        await send({"type": "lifespan.startup.complete"})
        await receive()
        for stop in self._on_stop:
            await stop()
        await asyncio.to_thread(database_threads.close)
        await send({"type": "lifespan.shutdown.complete"})

    def _start(self) -> None:
        logs.adopt("uvicorn", "uvicorn.error", "uvicorn.access")
        for start in self._on_start:
            start()


async def _read_body(scope: MutableMapping[str, Any], receive: Receive) -> IO[bytes]:
    """The whole body: in memory while it is small, else in a temporary file."""
    most = settings.REQUEST_MAX_BYTES
    if _content_length(scope) > most:
        raise BodyTooLarge
    message = await receive()
    body, more = message.get("body", b""), message.get("more_body", False)
    is_whole = message["type"] == "http.request" and not more
    if is_whole and len(body) <= min(most, IN_ONE_PIECE):
        return BytesIO(body)
    file = _new_file()
    file.write(body)
    while more and file.tell() <= most:
        message = await receive()
        more = message.get("more_body", False)
        file.write(message.get("body", b""))
    if message["type"] == "http.disconnect" or file.tell() > most:
        file.close()
        raise BodyTooLarge if message["type"] == "http.request" else ClientGone
    file.seek(0)
    return file


def _new_file() -> IO[bytes]:
    size = settings.FILE_UPLOAD_MAX_MEMORY_SIZE
    return cast("IO[bytes]", SpooledTemporaryFile(max_size=size))


def _content_length(scope: MutableMapping[str, Any]) -> int:
    for name, value in scope["headers"]:
        if name == b"content-length" and value.isdigit():
            return int(value)
    return 0


def _release(request: ASGIRequest, response: HttpResponseBase) -> None:
    """Close a request whose response is a stream.

    Django closes both together, and so would keep all of the request until then.
    """
    closers = response._resource_closers  # type: ignore[attr-defined]
    if request.close in closers:
        closers.remove(request.close)
        request.close()


def _start(response: HttpResponseBase) -> Message:
    headers = [
        (name.encode("ascii"), value.encode("latin1"))
        for name, value in response.items()
    ]
    headers += [
        (b"Set-Cookie", cookie.OutputString().encode("ascii"))
        for cookie in response.cookies.values()
    ]
    return {
        "type": "http.response.start",
        "status": response.status_code,
        "headers": headers,
    }


async def _begin(iterator: AsyncIterator[Any]) -> None:
    """Start a stream, so that it notices a client that left before the first byte.

    Closing a generator that was never started doesn't run any of its code.
    """
    beginning = asyncio.ensure_future(anext(iterator, None))
    await asyncio.sleep(0)
    beginning.cancel()
    await asyncio.wait((beginning,))


def _more(body: bytes) -> Message:
    return {"type": "http.response.body", "body": body, "more_body": True}


async def _disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
