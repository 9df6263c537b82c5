"""Calls of the API from inside: `langgraph_sdk.get_client()` without a URL.

Graphs and `http.app` reach the API without a socket, in web processes and in workers. The
SDK's transport is replaced, since it collects a whole response before it returns it. The
application for these calls is built on first use and has an event loop of its own: the
caller's may be blocked, or end with `asyncio.run`.

Code acts on behalf of an `Origin`, which is passed on in the ASGI scope. Clients can't set
it, since it is not a header.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Iterator,
    MutableMapping,
)
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from contextvars import Context, ContextVar
from dataclasses import dataclass, field
from functools import cache
from typing import Any
from uuid import UUID

import httpx
import langgraph_sdk._async.client
from django.http import HttpRequest
from rest_framework.request import Request

from spool.web.handler import Handler, Message, Receive, Send
from spool.web.thread_pool import DatabaseThreads

App = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]

logger = logging.getLogger(__name__)

# The key of the origin in ASGI scopes.
ORIGIN = "spool.origin"
# How many parts of a response are queued for a slow caller.
MAX_QUEUED = 16
# The last parts of paths whose responses wait for a run.
WAITING = ("wait", "stream", "join", "events")
# If it is not set, each `get_client()` tries to import the official server.
DEFER = "__LANGGRAPH_DEFER_LOOPBACK_TRANSPORT"


@dataclass(frozen=True)
class System:
    """The operator's own code outside of any request, which may do everything."""


@dataclass
class OfRequest:
    """A request to a route of `http.app`: its caller acts, if it has valid credentials."""

    scope: MutableMapping[str, Any]
    # Whether the request has been authenticated.
    is_known: bool = False
    caller: Any = None


@dataclass(frozen=True)
class OfRun:
    """A run: its user acts. `waiting` surrounds requests that wait for another run."""

    run_id: UUID
    thread_id: UUID
    user: dict[str, Any] | None
    api_key_id: UUID | None
    waiting: Callable[[], AbstractContextManager[None]] = field(default=nullcontext)


Origin = System | OfRequest | OfRun
SYSTEM = System()

_origin: ContextVar[Origin | None] = ContextVar("origin", default=None)


class TooManyWaiting(Exception):
    """Too many runs of this worker wait for other runs."""


def act(origin: Origin) -> None:
    """Let this context, and all tasks that it starts, act on behalf of `origin`."""
    _origin.set(origin)


@contextmanager
def acting(origin: Origin) -> Iterator[None]:
    token = _origin.set(origin)
    try:
        yield
    finally:
        _origin.reset(token)


def origin_of(request: Request | HttpRequest) -> Origin | None:
    """The origin of a call from inside; None for all other requests."""
    found: Origin | None = getattr(request, "scope", {}).get(ORIGIN)
    return found


class Transport(httpx.AsyncBaseTransport):
    """Passes requests to `app`, or else to the API, and streams the responses."""

    def __init__(self, app: App | None = None, root_path: str = "") -> None:
        self.app = app

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        origin = _origin.get()
        body = await request.aread()
        with ExitStack() as stack:
            if isinstance(origin, OfRun) and request.url.path.endswith(WAITING):
                try:
                    await asyncio.to_thread(stack.enter_context, origin.waiting())
                except TooManyWaiting as exc:
                    return httpx.Response(429, json={"detail": str(exc)})
            exchange = _Exchange(self.app, _scope(request, origin), body)
            stack.callback(exchange.close)
            timeout = request.extensions.get("timeout", {}).get("read")
            start = await exchange.next(timeout)
            return httpx.Response(
                start["status"],
                headers=start["headers"],
                stream=_Stream(exchange, timeout, stack.pop_all()),
            )


class _Stream(httpx.AsyncByteStream):
    def __init__(
        self, exchange: _Exchange, timeout: float | None, stack: ExitStack
    ) -> None:
        self._exchange = exchange
        self._timeout = timeout
        self._stack = stack

    async def __aiter__(self) -> AsyncIterator[bytes]:
        more = True
        while more:
            message = await self._exchange.next(self._timeout)
            if part := message.get("body"):
                yield part
            more = message.get("more_body", False)

    async def aclose(self) -> None:
        self._stack.close()


class _Exchange:
    """One request and its response, between the caller's loop and the application's."""

    def __init__(
        self, app: App | None, scope: MutableMapping[str, Any], body: bytes
    ) -> None:
        self._app = app
        self._scope = scope
        self._body: bytes | None = body
        self._caller = asyncio.get_running_loop()
        self._messages: asyncio.Queue[Message] = asyncio.Queue()
        # These two are used on the application's loop only.
        self._gone = asyncio.Event()
        self._room = asyncio.Semaphore(MAX_QUEUED)
        self._loop = _server().loop
        # Use an empty context: in a copy, LangGraph would find the caller's config.
        self._loop.call_soon_threadsafe(self._start, context=Context())

    # --- On the caller's loop ---------------------------------------------------------
    async def next(self, timeout: float | None) -> Message:
        """The next message of the application. Raises httpx's exceptions."""
        try:
            async with asyncio.timeout(timeout):
                message = await self._messages.get()
        except TimeoutError:
            raise httpx.ReadTimeout(f"no answer within {timeout} s") from None
        self._loop.call_soon_threadsafe(self._room.release)
        if message["type"] == "failed":
            raise httpx.ReadError(message["text"])
        return message

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._leave)

    # --- On the application's loop ----------------------------------------------------
    def _start(self) -> None:
        self._task = asyncio.ensure_future(self._serve())

    def _leave(self) -> None:
        self._gone.set()
        self._room.release()

    async def _serve(self) -> None:
        if origin := self._scope[ORIGIN]:
            act(origin)
        try:
            app = self._app or _server().handler()
            await app(self._scope, self._receive, self._send)
        except OSError:
            if not self._gone.is_set():
                raise
        except Exception as exc:
            logger.exception("an internal call failed")
            self._pass_on({"type": "failed", "text": type(exc).__name__})

    async def _receive(self) -> Message:
        body, self._body = self._body, None
        if body is not None:
            return {"type": "http.request", "body": body, "more_body": False}
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Message) -> None:
        await self._room.acquire()
        if self._gone.is_set():
            raise ConnectionResetError("the caller has gone away")
        self._pass_on(message)

    def _pass_on(self, message: Message) -> None:
        try:
            self._caller.call_soon_threadsafe(self._messages.put_nowait, message)
        except RuntimeError:  # The caller's loop is closed.
            self._gone.set()
            raise ConnectionResetError("the caller's loop has ended") from None


class _Server:
    """The loop of the application, and the application itself once it is needed."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._handler: Handler | None = None
        name = "spool-inside"
        threading.Thread(target=self.loop.run_forever, name=name, daemon=True).start()

    def handler(self) -> App:
        """Called on the loop only."""
        if self._handler is None:
            # It has its own threads: all threads of the web process may be waiting for
            # handlers of `auth.path` that call the API.
            self._handler = Handler(DatabaseThreads())
        return self._handler


_starting = threading.Lock()


def _server() -> _Server:
    with _starting:
        return _started()


@cache
def _started() -> _Server:
    return _Server()


def _scope(request: httpx.Request, origin: Origin | None) -> MutableMapping[str, Any]:
    # Drop the host, which stands for this process: it isn't in `ALLOWED_HOSTS`.
    headers = [(k.lower(), v) for k, v in request.headers.raw if k.lower() != b"host"]
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": request.method,
        "scheme": "http",
        "path": request.url.path,
        "raw_path": request.url.raw_path.partition(b"?")[0],
        "query_string": request.url.query,
        "root_path": "",
        "headers": headers,
        "client": ("127.0.0.1", 0),
        "server": ("127.0.0.1", 80),
        ORIGIN: origin,
    }


class _Unregistered(list[Any]):
    """Replaces the SDK's list of transports that wait for an application."""

    def append(self, transport: Any) -> None:
        """Keep nothing: a graph may create a client in each of its runs."""


def install() -> None:
    """Make `get_client()` without a URL work in this process."""
    os.environ[DEFER] = "true"
    sdk: Any = langgraph_sdk._async.client
    sdk.get_asgi_transport = lambda: Transport
    sdk._registered_transports = _Unregistered()
