"""MCP up to 2025-11-25 over streamable HTTP: one POST at a time, for any web process.

The library serves these versions with sessions that live in one process. Here, the
session's id contains all that later requests need. Messages for a waiting call (an
answer from the client's user, a cancellation) reach its process over Redis. The server
has no stream that is independent of a request: `GET` and `DELETE` get 405.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, cast
from uuid import uuid4

import anyio
from django.conf import settings
from mcp.server.connection import Connection
from mcp.server.lowlevel import Server
from mcp.server.runner import serve_one
from mcp.server.streamable_http import REQUEST_CANCELLED, check_accept_headers
from mcp.shared.dispatcher import CallOptions
from mcp.shared.exceptions import MCPError, NoBackChannelError
from mcp.shared.inbound import MCP_PROTOCOL_VERSION_HEADER
from mcp.shared.jsonrpc_dispatcher import (
    cancelled_request_id_from_params,
    handler_exception_to_error_data,
    progress_token_from_params,
)
from mcp.shared.message import ServerMessageMetadata
from mcp.shared.transport_context import TransportContext
from mcp_types import (
    DEFAULT_NEGOTIATED_VERSION,
    INTERNAL_ERROR,
    INVALID_REQUEST,
    PARSE_ERROR,
    ClientCapabilities,
    ErrorData,
    JSONRPCError,
    JSONRPCMessage,
    JSONRPCNotification,
    JSONRPCRequest,
    JSONRPCResponse,
    ProgressToken,
    RequestId,
    jsonrpc_message_adapter,
)
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS, LATEST_HANDSHAKE_VERSION
from pydantic import ValidationError
from redis.exceptions import RedisError
from starlette.requests import Request
from starlette.responses import Response

from spool.protocols.mcp.callers import identity_of
from spool.protocols.mcp.sessions import (
    Session,
    UnknownSession,
    find_session,
    new_session,
)
from spool.protocols.mcp.signals import payload_key, signals
from spool.web.guards import Receive, Scope, Send
from spool.web.http_protocol import server_is_stopping

logger = logging.getLogger(__name__)

SESSION_HEADER = "mcp-session-id"
# How long a cancellation is kept for a call that has not begun yet, in seconds.
CANCELLATION_SECS = 60
SSE_HEADERS = {
    "content-type": "text/event-stream; charset=utf-8",
    "cache-control": "no-store",
    "x-accel-buffering": "no",
}


class Refused(Exception):
    """A request that is refused with an HTTP status and a JSON-RPC error code."""

    def __init__(self, status: int, message: str, code: int = INVALID_REQUEST) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


@dataclass(frozen=True)
class Post:
    """One message, and its caller and session."""

    request: Request
    message: JSONRPCMessage
    session: Session | None
    identity: str
    takes_events: bool

    @property
    def version(self) -> str:
        """The protocol version: from `initialize`, later from the request's header."""
        message = self.message
        if isinstance(message, JSONRPCRequest) and message.method == "initialize":
            requested = (message.params or {}).get("protocolVersion")
            is_known = requested in HANDSHAKE_PROTOCOL_VERSIONS
            return cast("str", requested) if is_known else LATEST_HANDSHAKE_VERSION
        header = self.request.headers.get(MCP_PROTOCOL_VERSION_HEADER)
        return header or DEFAULT_NEGOTIATED_VERSION

    def key(self, *about: str) -> str | None:
        """The key for a payload to a call of this session; None without a session."""
        if self.session is None:
            return None
        return payload_key(self.identity, self.session.nonce, *about)

    def key_of_call(self, request_id: RequestId) -> str | None:
        return self.key("cancelled", type(request_id).__name__, str(request_id))

    def key_of_question(self, request_id: RequestId) -> str | None:
        return self.key("answer", str(request_id))


async def serve(
    server: Server[Any], scope: Scope, receive: Receive, send: Send
) -> None:
    """Answer one POST of a client that speaks one of these versions."""
    request = Request(scope, receive, send)
    try:
        post = await _read(request)
        if isinstance(post.message, JSONRPCRequest):
            await Exchange(server, post, post.message, send).serve()
            return
        await _note(post)
    except Refused as exc:
        error = _error(None, exc.code, str(exc))
        response = Response(_dump(error), exc.status, media_type="application/json")
    else:
        response = Response(status_code=202)
    await response(scope, receive, send)


async def _read(request: Request) -> Post:
    # Without an `Accept` header, answer in JSON, not with an event stream.
    has_json, has_sse = True, False
    if "accept" in request.headers:
        has_json, has_sse = check_accept_headers(request)
    if not has_json:
        raise Refused(406, "Not Acceptable: the answer is application/json")
    content_type = request.headers.get("content-type", "").partition(";")[0].strip()
    if content_type.lower() != "application/json":
        raise Refused(415, "Unsupported Media Type: send application/json")
    message = _parsed(await request.body())
    session = None
    if session_id := request.headers.get(SESSION_HEADER):
        try:
            session = find_session(session_id)
        except UnknownSession:
            # 404 makes clients begin again with `initialize`.
            raise Refused(404, "Session not found") from None
    return Post(request, message, session, identity_of(request), has_sse)


def _parsed(body: bytes) -> JSONRPCMessage:
    try:
        return jsonrpc_message_adapter.validate_json(body, by_name=False)
    except ValidationError as exc:
        if exc.errors()[0]["type"] == "json_invalid":
            raise Refused(400, "Parse error", PARSE_ERROR) from None
        raise Refused(400, "The body must be one JSON-RPC message") from None


async def _note(post: Post) -> None:
    """Pass on a message that expects no response to the call that it refers to."""
    message, key, keep_secs = post.message, None, CANCELLATION_SECS
    if isinstance(message, (JSONRPCResponse, JSONRPCError)) and message.id is not None:
        key = post.key_of_question(message.id)
    elif (
        isinstance(message, JSONRPCNotification)
        and message.method == "notifications/cancelled"
        and (request_id := cancelled_request_id_from_params(message.params)) is not None
    ):
        key = post.key_of_call(request_id)
    if key is None:
        return
    payload = message.model_dump_json(by_alias=True, exclude_none=True).encode()
    try:
        await signals().leave(key, payload, keep_secs=keep_secs)
    except (RedisError, OSError):
        raise Refused(503, "Redis is away: try again", INTERNAL_ERROR) from None


@dataclass
class Exchange:
    """One request and its response, with the messages and requests in between.

    It is the library's `DispatchContext` for the request. The response is plain JSON.
    It is an event stream if other messages come first, or if a heartbeat is due before
    it is ready.
    """

    server: Server[Any]
    post: Post
    call: JSONRPCRequest
    send: Send
    cancel_requested: anyio.Event = field(default_factory=anyio.Event)
    _frames: asyncio.Queue[bytes] = field(default_factory=asyncio.Queue)
    _client_is_gone: asyncio.Event = field(default_factory=asyncio.Event)
    _headers: dict[str, str] = field(default_factory=dict)
    _streams: bool = False

    # --- The library's `DispatchContext` ---------------------------------------------
    @property
    def transport(self) -> TransportContext:
        return TransportContext(
            kind="streamable-http",
            can_send_request=self.can_send_request,
            headers=self.post.request.headers,
        )

    @property
    def can_send_request(self) -> bool:
        has_way_back = self.post.takes_events and self.post.session is not None
        return has_way_back and not self._client_is_gone.is_set()

    @property
    def request_id(self) -> RequestId:
        return self.call.id

    @property
    def message_metadata(self) -> ServerMessageMetadata:
        return ServerMessageMetadata(request_context=self.post.request)

    @property
    def progress_token(self) -> ProgressToken | None:
        return progress_token_from_params(self.call.params)

    async def notify(
        self,
        method: str,
        params: Mapping[str, Any] | None,
        opts: CallOptions | None = None,
    ) -> None:
        given = None if params is None else dict(params)
        self._push(JSONRPCNotification(jsonrpc="2.0", method=method, params=given))

    async def progress(
        self, progress: float, total: float | None = None, message: str | None = None
    ) -> None:
        if self.progress_token is None:
            return
        said = {"progress": progress, "total": total, "message": message}
        params = {key: value for key, value in said.items() if value is not None}
        await self.notify(
            "notifications/progress", {"progressToken": self.progress_token, **params}
        )

    async def send_raw_request(
        self,
        method: str,
        params: Mapping[str, Any] | None,
        opts: CallOptions | None = None,
    ) -> dict[str, Any]:
        """Send a request in the stream of the call; the client answers by another POST.

        Returns the result. Raises `MCPError` for an error of the client, and
        `NoBackChannelError` if it can't be reached or does not answer in time.
        """
        request_id = str(uuid4())
        key = self.post.key_of_question(request_id)
        if key is None or not self.can_send_request:
            raise NoBackChannelError(method)
        given = None if params is None else dict(params)
        rpc_request = JSONRPCRequest(
            jsonrpc="2.0", id=request_id, method=method, params=given
        )
        with signals().expecting(key) as payload:
            self._push(rpc_request)
            gone = asyncio.ensure_future(self._client_is_gone.wait())
            try:
                await asyncio.wait(
                    (payload, gone),
                    timeout=settings.MCP_INTERRUPT_TTL_MINUTES * 60,
                    return_when=asyncio.FIRST_COMPLETED,
                )
            finally:
                gone.cancel()
            if not payload.done():
                raise NoBackChannelError(method)
            message = jsonrpc_message_adapter.validate_json(payload.result())
        if isinstance(message, JSONRPCError):
            raise MCPError.from_error_data(message.error)
        return cast(JSONRPCResponse, message).result

    # --- The request's life ------------------------------------------------------------
    async def serve(self) -> None:
        """Serve the request to its end.

        A client that disconnects does not cancel it: that takes a cancellation message.
        """
        handling = asyncio.create_task(self._outcome())
        watching = [
            asyncio.create_task(self._watch_client(handling)),
            asyncio.create_task(self._watch_cancellation(handling)),
        ]
        try:
            with suppress(OSError):  # Raised if the client is gone.
                await self._send_frames(handling)
        except asyncio.CancelledError:  # The server has waited long enough, and stops.
            handling.cancel()
            raise
        finally:
            for task in watching:
                task.cancel()
            # Wait even if the client has disconnected: the run and handler continue.
            await asyncio.gather(handling, *watching, return_exceptions=True)

    async def _outcome(self) -> JSONRPCResponse | JSONRPCError:
        connection = Connection.from_envelope(self.post.version, None, None)
        if self.post.session:
            connection.client_capabilities = self.post.session.capabilities
        request_id = self.call.id
        try:
            result = await serve_one(
                self.server,
                self,
                self.call.method,
                self.call.params,
                connection=connection,
                lifespan_state={},
            )
        except asyncio.CancelledError:
            return _error(request_id, REQUEST_CANCELLED, "Request cancelled")
        except (
            Exception
        ) as exc:  # An expected error has an MCP error; anything else is a bug of ours.
            error = handler_exception_to_error_data(exc)
            if error is None:
                logger.exception("mcp: %s failed", self.call.method)
                return _error(request_id, INTERNAL_ERROR, "Internal server error")
            return JSONRPCError(jsonrpc="2.0", id=request_id, error=error)
        if self.call.method == "initialize":
            self._begin_session(connection.client_capabilities)
        return JSONRPCResponse(jsonrpc="2.0", id=request_id, result=result)

    def _begin_session(self, capabilities: ClientCapabilities | None) -> None:
        self._headers = {SESSION_HEADER: new_session(capabilities).id}

    async def _send_frames(
        self, handling: asyncio.Task[JSONRPCResponse | JSONRPCError]
    ) -> None:
        while not handling.done() or not self._frames.empty():
            getting = asyncio.ensure_future(self._frames.get())
            await asyncio.wait(
                (getting, handling),
                timeout=settings.STREAM_HEARTBEAT_SECS,
                return_when=asyncio.FIRST_COMPLETED,
            )
            if getting.done():
                await self._stream(getting.result())
                continue
            getting.cancel()
            if not handling.done() and self.post.takes_events:
                await self._stream(b": ping\r\n\r\n")
        await self._finish(handling.result())

    async def _stream(self, frame: bytes) -> None:
        if not self._streams:
            self._streams = True
            await self._start(200, SSE_HEADERS | self._headers)
        await self.send(
            {"type": "http.response.body", "body": frame, "more_body": True}
        )

    async def _finish(self, message: JSONRPCResponse | JSONRPCError) -> None:
        if self._streams:
            await self._stream(_frame(message))
            await self.send({"type": "http.response.body", "body": b""})
            return
        json = {"content-type": "application/json"}
        await self._start(200, json | self._headers)
        await self.send({"type": "http.response.body", "body": _dump(message)})

    async def _start(self, status: int, headers: dict[str, str]) -> None:
        pairs = [(name.encode(), value.encode()) for name, value in headers.items()]
        await self.send(
            {"type": "http.response.start", "status": status, "headers": pairs}
        )

    def _push(self, message: JSONRPCRequest | JSONRPCNotification) -> None:
        if self.post.takes_events and not self._client_is_gone.is_set():
            self._frames.put_nowait(_frame(message))

    async def _watch_client(self, handling: asyncio.Task[Any]) -> None:
        while (await self.post.request.receive())["type"] != "http.disconnect":
            pass
        self._client_is_gone.set()
        if server_is_stopping():
            handling.cancel()

    async def _watch_cancellation(self, handling: asyncio.Task[Any]) -> None:
        key = self.post.key_of_call(self.call.id)
        if key is None or self.call.method != "tools/call":
            return
        with signals().expecting(key) as payload:
            await payload
            self.cancel_requested.set()
            handling.cancel()


def _error(request_id: RequestId | None, code: int, message: str) -> JSONRPCError:
    error = ErrorData(code=code, message=message)
    return JSONRPCError(jsonrpc="2.0", id=request_id, error=error)


def _dump(message: JSONRPCMessage) -> bytes:
    return message.model_dump_json(by_alias=True, exclude_unset=True).encode()


def _frame(message: JSONRPCMessage) -> bytes:
    return b"event: message\r\ndata: " + _dump(message) + b"\r\n\r\n"
