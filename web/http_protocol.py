"""uvicorn's own protocol, with a limit on the size of a request's head, and timeouts for
its head and its body.

`uvicorn --http spool.web.http_protocol:BoundedHead`. Without it, `web.guards` also
refuses heads that are too long, but only after they have been read into memory;
connections that send nothing stay open; and streams that the server cuts when it stops
look as if their clients had disconnected.
"""

from __future__ import annotations

import asyncio
from contextvars import ContextVar

from django.conf import settings
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

# Whole chunks are counted as they arrive, so it is far above the limit of `web.guards`.
HEAD_MAX_BYTES = 2**20


def server_is_stopping() -> bool:
    """Whether the server is stopping, so that the current request may be cut by it."""
    connection = _connection.get()
    return connection is not None and connection.is_stopping


TOO_SLOW = b"The request did not arrive in time."
TIMED_OUT = (
    b"HTTP/1.1 408 Request Timeout\r\ncontent-type: text/plain; charset=utf-8\r\n"
    b"content-length: %d\r\nconnection: close\r\n\r\n%s" % (len(TOO_SLOW), TOO_SLOW)
)


class BoundedHead(HttpToolsProtocol):
    is_stopping = False
    _is_in_head = False
    _head_bytes = 0
    # The timer runs while a head or a body is awaited.
    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._await_within(settings.REQUEST_HEAD_TIMEOUT_SECS)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._timer is None and (self.cycle is None or self.cycle.response_complete):
            # The next request on a connection that is kept open.
            self._await_within(settings.REQUEST_HEAD_TIMEOUT_SECS)
        super().data_received(data)
        if not self._is_in_head:
            return
        self._head_bytes += len(data)
        if self._head_bytes > HEAD_MAX_BYTES and not self.transport.is_closing():
            self.send_400_response("The request's head is too long.")

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._is_in_head, self._head_bytes = True, 0

    def on_headers_complete(self) -> None:
        self._is_in_head = False
        self._await_within(settings.REQUEST_BODY_TIMEOUT_SECS)
        # The request's task begins with a copy of what is set here.
        _connection.set(self)
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._stop_timer()
        super().on_message_complete()

    def handle_websocket_upgrade(self) -> None:
        self._stop_timer()
        # Otherwise the context of the WebSocket's task, and a parser, would keep this
        # protocol in memory for as long as the WebSocket is open.
        _connection.set(None)
        super().handle_websocket_upgrade()
        self.parser = None  # type: ignore[assignment]

    def _await_within(self, seconds: float) -> None:
        self._stop_timer()
        self._timer = self.loop.call_later(seconds, self._time_out, seconds)

    def _stop_timer(self) -> None:
        if self._timer:
            self._timer.cancel()
            self._timer = None

    def _time_out(self, seconds: float) -> None:
        self._timer = None
        if self.transport.is_closing():
            return
        if self.flow.read_paused:  # The server itself does not read.
            self._await_within(seconds)
            return
        is_answered = (
            not self._is_in_head and self.cycle and self.cycle.response_started
        )
        if not is_answered:
            self.transport.write(TIMED_OUT)
        self.transport.close()

    def shutdown(self) -> None:
        self.is_stopping = True
        super().shutdown()


_connection: ContextVar[BoundedHead | None] = ContextVar("connection", default=None)
