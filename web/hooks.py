"""What `web` needs of parts above it; filled in `spool/hooks.py`."""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any

from spool.config.hook import Hook

# The parts `queue` and `workers` of `/metrics?format=json`.
queue_figures: Hook[[], dict[str, Any]] = Hook("web.queue_figures")
# The user that a request or a handshake (its ASGI scope) comes from, for
# `scope["user"]`; None where nobody has to log in. Raises an `APIException`.
authenticate: Hook[[MutableMapping[str, Any]], Any] = Hook("web.authenticate")
