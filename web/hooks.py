"""Functions of higher layers that `web` needs; set in `spool/hooks.py`."""

from __future__ import annotations

from collections.abc import Awaitable, MutableMapping
from typing import Any

from spool.config.hook import Hook

# The parts `queue` and `workers` of `/metrics?format=json`.
queue_figures: Hook[[], dict[str, Any]] = Hook("web.queue_figures")
# The user of a request or a handshake (its ASGI scope), for `scope["user"]`; None
# without access control. Raises an `APIException`.
authenticate: Hook[[MutableMapping[str, Any]], Any] = Hook("web.authenticate")

# Serves a WebSocket: its ASGI scope, `receive` and `send`. An unknown path is closed.
serve_websocket: Hook[[MutableMapping[str, Any], Any, Any], Awaitable[None]] = Hook(
    "web.serve_websocket"
)
