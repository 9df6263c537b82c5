"""What `http` in langgraph.json says of headers and of routes that are not wanted."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from fnmatch import fnmatchcase
from typing import Any

from django.http import HttpRequest, JsonResponse
from django.http.response import HttpResponseBase

from spool.config.env import stop
from spool.config.langgraph_json import section
from spool.web import errors

# Who they let in is nobody else's business, whatever the patterns say.
NEVER_COPIED = {"x-api-key", "x-tenant-id", "x-service-key"}
# Copied only where they are named in full: "*" was not written with these in mind.
SECRET = {"authorization", "proxy-authorization", "cookie"}

# The first that fits. Runs have routes below threads, and crons theirs below runs.
_PATHS = (
    ("meta", r"/(info|metrics|docs|openapi\.json)/?"),
    ("runs", r"/(threads/[^/]+/)?runs(/.*)?"),
    ("assistants", r"/assistants(/.*)?"),
    ("threads", r"/threads(/.*)?"),
    ("store", r"/store(/.*)?"),
    ("mcp", r"/mcp(/.*)?"),
    ("a2a", r"/a2a(/.*)?|(/.*)?/\.well-known/agent-card\.json"),
    ("ui", r"/ui(/.*)?"),
)
# A line's end is a character of a path like any other.
GROUPS = [(name, re.compile(path, re.DOTALL)) for name, path in _PATHS]


def configurable_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """The request's headers that runs get in their `configurable`."""
    config = section("http").get("configurable_headers")
    if not config:
        return {}
    includes, excludes = _patterns(config, "include"), _patterns(config, "exclude")
    return {
        name.lower(): value
        for name, value in headers.items()
        if _is_copied(name.lower(), includes, excludes)
    }


def _is_copied(name: str, includes: list[str], excludes: list[str]) -> bool:
    if name in NEVER_COPIED or any(fnmatchcase(name, one) for one in excludes):
        return False
    if name in SECRET:
        return name in includes
    return any(fnmatchcase(name, one) for one in includes)


def _patterns(config: Any, key: str) -> list[str]:
    if not isinstance(config, dict):
        stop("langgraph.json: http.configurable_headers must be an object")
    given = config.get(f"{key}s") or config.get(key) or []
    if not isinstance(given, list) or not all(isinstance(one, str) for one in given):
        stop(
            f"langgraph.json: http.configurable_headers.{key}s must be a list of strings"
        )
    return [one.lower() for one in given]


def check_switches() -> None:
    """Stop at one that is neither on nor off: it would be taken for off."""
    for name, value in section("http").items():
        if name.startswith(("disable_", "enable_")) and not isinstance(
            value, bool | None
        ):
            stop(f"langgraph.json: http.{name} must be true or false, not {value!r}")


def is_disabled(path: str) -> bool:
    options = section("http")
    if not any(key.startswith("disable_") for key in options):
        return False
    group = next((name for name, fits in GROUPS if fits.fullmatch(path)), None)
    return group is not None and options.get(f"disable_{group}") is True


class DisabledRoutes:
    """Middleware: routes that are not wanted are not there."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        path = request.path_info
        if is_disabled(path):
            return errors.not_found(request, Exception())
        if path in ("/", "/ok") and section("http").get("disable_meta") is True:
            # What depends on what is also about the server.
            return JsonResponse({"ok": True})
        return self.get_response(request)
