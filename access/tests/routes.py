"""Every route of the server, from the URLconf itself."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from django.urls import URLPattern, URLResolver, get_resolver

# Public information about the server; the admin has Django's own login.
PUBLIC = {
    *(
        "/",
        "/ok",
        "/live",
        "/ready",
        "/info",
        "/metrics",
        "/docs",
        "/openapi.json",
        "/admin",
        "/favicon.ico",
    ),
    "/.well-known/oauth-protected-resource",
    "/.well-known/oauth-protected-resource/mcp",
}
ADMIN = "/admin/"


@dataclass(frozen=True)
class Route:
    method: str
    path: str  # With `{names}` for what differs.
    view: Any
    action: str

    def __str__(self) -> str:
        return f"{self.method.upper()} {self.path}"

    @property
    def is_public(self) -> bool:
        """Whether the route needs no login."""
        return self.action in getattr(self.view, "public_actions", ())


def routes() -> list[Route]:
    """All routes outside of `PUBLIC` and the admin."""
    return [
        route
        for route in _below("/", get_resolver().url_patterns)
        if route.path not in PUBLIC and not route.path.startswith(ADMIN)
    ]


def _below(prefix: str, patterns: list[Any]) -> Iterator[Route]:
    for pattern in patterns:
        path = prefix + re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", str(pattern.pattern))
        if isinstance(pattern, URLResolver):
            yield from _below(path, pattern.url_patterns)
        elif isinstance(pattern, URLPattern):
            view: Any = pattern.callback
            for method, action in getattr(view, "actions", {"": ""}).items():
                if method != "head":  # REST framework adds it to any "get".
                    yield Route(method, path, getattr(view, "cls", view), action)
