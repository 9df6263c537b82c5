"""uvicorn's own protocol for WebSockets, which keeps less of an idle connection."""

from __future__ import annotations

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol


class LeanWebSocket(WebSocketsSansIOProtocol):
    def start_keepalive(self) -> None:
        """Forget the headers of the handshake, which has just been answered.

        The application has its own copy of them, in its scope.
        """
        super().start_keepalive()
        self.request.headers.clear()
        self.response.headers.clear()
