"""Whether this web process may get requests: not while it starts or stops."""

from __future__ import annotations

from typing import Any

from spool.web.guards import App, Receive, Scope, Send, answer_json

STARTING = "it is starting"
STOPPING = "it is stopping, and finishes its streams"

# Why it is not ready; empty if it is, or if another server than Spool's serves the app.
_reason = ""


def reasons() -> list[str]:
    return [_reason] if _reason else []


def starting() -> None:
    _become(STARTING)


def started() -> None:
    _become("")


def stopping() -> None:
    _become(STOPPING)


def _become(reason: str) -> None:
    global _reason
    _reason = reason


class UntilStarted:
    """Answers probes while `app` is starting, and refuses other requests."""

    def __init__(self, app: App) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan" or _reason != STARTING:
            await self.app(scope, receive, send)
            return
        path, status = scope["path"], 503
        body: dict[str, Any] = {"detail": "The server is starting"}
        if path.endswith("/live"):
            status, body = 200, {"live": True}
        elif path.endswith("/ready"):
            body = {"ready": False, "reasons": [STARTING]}
        await answer_json(scope, receive, send, status, body)
