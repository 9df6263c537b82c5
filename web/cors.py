"""Which web pages of other origins may call the API from a browser.

The defaults are the official server's: every origin, without credentials. Without access
control, only pages of this machine may call, since otherwise any page that is open in a
browser here could use the server. A block `http.cors` in `langgraph.json` replaces the
defaults; keys that it leaves out have the defaults of browsers (`GET` only, no headers).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from urllib.parse import urlsplit

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.utils.cache import patch_vary_headers
from rest_framework.exceptions import APIException

from spool.config.access_mode import is_open
from spool.config.env import origin_of, stop
from spool.config.langgraph_json import langgraph_json
from spool.config.langgraph_schema import Cors

# Response headers that the official clients read.
EXPOSED_HEADERS = ("content-location", "x-pagination-next", "x-pagination-total")
ALL_METHODS = ("DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT")
# Browsers send these without a preflight.
SAFE_HEADERS = ("accept", "accept-language", "content-language", "content-type")
MAX_AGE_SECS = 600
# Pages of this machine: `*.localhost` is resolved to it by browsers themselves.
LOOPBACK_ORIGIN = re.compile(
    r"https?://(([a-z0-9-]+\.)*localhost|127(\.\d{1,3}){3}|\[::1\])(:\d+)?"
)


@dataclass(frozen=True)
class Rules:
    origins: frozenset[str]
    origin_regex: re.Pattern[str] | None
    methods: tuple[str, ...]
    headers: frozenset[str]
    exposed: tuple[str, ...]
    allows_credentials: bool
    max_age: int

    def allows_origin(self, origin: str) -> bool:
        regex = self.origin_regex
        return (
            "*" in self.origins
            or origin in self.origins
            or (regex is not None and regex.fullmatch(origin) is not None)
        )

    def allows_headers(self, requested: list[str]) -> bool:
        if "*" in self.headers:
            return True
        return all(name in self.headers or name in SAFE_HEADERS for name in requested)


class CORSMiddleware:
    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        if "HTTP_ORIGIN" not in request.META:
            return self.get_response(request)
        if (
            request.method == "OPTIONS"
            and "HTTP_ACCESS_CONTROL_REQUEST_METHOD" in request.META
        ):
            return _preflight(request)
        return with_headers(request, self.get_response(request))


@cache
def rules() -> Rules:
    block = langgraph_json().http.cors
    if block is None:
        origins, regex = settings.CORS_ALLOW_ORIGINS, None
        if not origins and is_open():
            regex = LOOPBACK_ORIGIN
            if settings.PUBLIC_URL:
                origins = [origin_of(settings.PUBLIC_URL)]
        elif not origins:
            origins = ["*"]
        return Rules(
            origins=frozenset(origins),
            origin_regex=regex,
            methods=ALL_METHODS,
            headers=frozenset("*"),
            exposed=EXPOSED_HEADERS,
            allows_credentials="*" not in origins and regex is None,
            max_age=MAX_AGE_SECS,
        )
    return _from_block(block)


class OriginRefused(APIException):
    status_code = 403
    default_detail = "This origin may not call the API"


def lets_in(request: HttpRequest) -> bool:
    """Whether a WebSocket may be opened, since browsers send no preflight for it.

    A request without an origin doesn't come from a page.
    """
    origin = request.META.get("HTTP_ORIGIN")
    if origin is None or rules().allows_origin(origin):
        return True
    return bool(urlsplit(origin).netloc == request.META.get("HTTP_HOST"))


def with_headers(request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
    """Let the page that sent `request` read `response`."""
    origin = request.META.get("HTTP_ORIGIN")
    if origin is None:
        return response
    allowed = rules()
    if not allowed.allows_origin(origin):
        return response
    _name_origin(response, origin, allowed)
    if allowed.exposed:
        response["Access-Control-Expose-Headers"] = ", ".join(allowed.exposed)
    return response


def _preflight(request: HttpRequest) -> HttpResponse:
    meta, allowed = request.META, rules()
    asked_headers = meta.get("HTTP_ACCESS_CONTROL_REQUEST_HEADERS", "")
    names = [name.strip().lower() for name in asked_headers.split(",") if name.strip()]
    refused = [
        word
        for word, is_fine in (
            ("origin", allowed.allows_origin(meta["HTTP_ORIGIN"])),
            (
                "method",
                meta["HTTP_ACCESS_CONTROL_REQUEST_METHOD"].upper() in allowed.methods,
            ),
            ("headers", allowed.allows_headers(names)),
        )
        if not is_fine
    ]
    response = HttpResponse("OK", content_type="text/plain; charset=utf-8")
    if refused:
        response.status_code = 400
        response.content = "Disallowed CORS " + ", ".join(refused)
    if "origin" not in refused:
        _name_origin(response, meta["HTTP_ORIGIN"], allowed)
    response["Access-Control-Allow-Methods"] = ", ".join(allowed.methods)
    response["Access-Control-Max-Age"] = str(allowed.max_age)
    if "*" not in allowed.headers:
        headers = sorted(allowed.headers.union(SAFE_HEADERS))
        response["Access-Control-Allow-Headers"] = ", ".join(headers)
    elif names:
        response["Access-Control-Allow-Headers"] = asked_headers
    asks_for_network = meta.get("HTTP_ACCESS_CONTROL_REQUEST_PRIVATE_NETWORK")
    if asks_for_network == "true" and "origin" not in refused:
        response["Access-Control-Allow-Private-Network"] = "true"
    return response


def _name_origin(response: HttpResponseBase, origin: str, allowed: Rules) -> None:
    if "*" in allowed.origins and not allowed.allows_credentials:
        response["Access-Control-Allow-Origin"] = "*"
        return
    # With credentials, browsers require the origin by name, even if all are allowed.
    response["Access-Control-Allow-Origin"] = origin
    patch_vary_headers(response, ["Origin"])
    if allowed.allows_credentials:
        response["Access-Control-Allow-Credentials"] = "true"


def _from_block(block: Cors) -> Rules:
    methods = [method.upper() for method in block.allow_methods]
    return Rules(
        origins=frozenset(block.allow_origins),
        origin_regex=_compiled(block.allow_origin_regex),
        methods=ALL_METHODS if "*" in methods else tuple(methods),
        headers=frozenset(header.lower() for header in block.allow_headers),
        exposed=tuple(block.expose_headers),
        allows_credentials=block.allow_credentials,
        max_age=block.max_age,
    )


def _compiled(regex: str | None) -> re.Pattern[str] | None:
    try:
        return re.compile(regex) if regex else None
    except re.error as exc:
        stop(f"langgraph.json: http.cors.allow_origin_regex: {exc}")
