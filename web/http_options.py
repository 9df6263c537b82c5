"""The options of `http` in langgraph.json for headers and disabled routes."""

from __future__ import annotations

import re
from collections.abc import Callable
from fnmatch import fnmatchcase

from django.http import HttpRequest, JsonResponse
from django.http.response import HttpResponseBase
from rest_framework.request import Request

from spool.config.langgraph_json import langgraph_json
from spool.web import errors

# Credentials for this server: never copied, even if a pattern matches.
NEVER_COPIED = {"x-api-key", "x-tenant-id", "x-service-key"}
# Copied only if the full name is configured: "*" doesn't include credentials.
SECRET = {"authorization", "proxy-authorization", "cookie"}

# The first match counts. Runs have routes below threads, and crons below runs.
_PATHS = (
    ("meta", r"/(info|metrics|docs|openapi\.json)/?"),
    ("runs", r"/(threads/[^/]+/)?runs(/.*)?"),
    ("assistants", r"/assistants(/.*)?"),
    ("threads", r"/threads(/.*)?"),
    ("store", r"/store(/.*)?"),
    ("mcp", r"/mcp(/.*)?|/\.well-known/oauth-protected-resource(/mcp)?"),
    ("a2a", r"/a2a(/.*)?|(/.*)?/\.well-known/agent-card\.json"),
    ("ui", r"/ui(/.*)?"),
)
# A path may contain a newline, which `.` must match.
GROUPS = [(name, re.compile(path, re.DOTALL)) for name, path in _PATHS]


def configurable_headers(request: Request | HttpRequest) -> dict[str, str]:
    """The request's headers that runs get in their `configurable`."""
    patterns = langgraph_json().http.configurable_headers
    if not patterns:
        return {}
    includes = [pattern.lower() for pattern in patterns.includes]
    excludes = [pattern.lower() for pattern in patterns.excludes]
    return {
        name.lower(): value
        for name, value in request.headers.items()
        if _is_copied(name.lower(), includes, excludes)
    }


def _is_copied(name: str, includes: list[str], excludes: list[str]) -> bool:
    if name in NEVER_COPIED or any(fnmatchcase(name, one) for one in excludes):
        return False
    if name in SECRET:
        return name in includes
    return any(fnmatchcase(name, one) for one in includes)


def is_disabled(path: str) -> bool:
    disabled = langgraph_json().http.disabled_groups
    if not disabled:
        return False
    group = next((name for name, fits in GROUPS if fits.fullmatch(path)), None)
    return group in disabled


class DisabledRoutes:
    """Middleware that answers 404 for disabled routes."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        path = request.path_info
        if is_disabled(path):
            return errors.not_found(request, Exception())
        if path in ("/", "/ok") and langgraph_json().http.disable_meta:
            # The results of `check_db` are information about the server, too.
            return JsonResponse({"ok": True})
        return self.get_response(request)
