"""uvicorn's own protocol, with an end to how long a request's head may get.

`uvicorn --http config.http_protocol:BoundedHead`. Without it `web.guards` refuses what
is too long all the same, but only once all of it has been kept in memory; and streams
that a stop of the server cuts look as if their clients had left.
"""

from __future__ import annotations

from contextvars import ContextVar

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

# Counted by what arrives at once, so far above what `web.guards` allows.
HEAD_MAX_BYTES = 2**20


def server_is_stopping() -> bool:
    """Whether the request that is being answered is cut by the server, if it is cut."""
    connection = _connection.get()
    return connection is not None and connection.is_stopping


class BoundedHead(HttpToolsProtocol):
    is_stopping = False
    _is_in_head = False
    _head_bytes = 0

    def data_received(self, data: bytes) -> None:
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
        # The request's task begins with a copy of what is set here.
        _connection.set(self)
        super().on_headers_complete()

    def shutdown(self) -> None:
        self.is_stopping = True
        super().shutdown()


_connection: ContextVar[BoundedHead | None] = ContextVar("connection", default=None)
