"""The arguments that an `authenticate` handler can take, by parameter name."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any
from urllib.parse import SplitResult, urlsplit

from django.http import HttpRequest
from rest_framework.request import Request

from spool.database.json import loads

PARAMETERS = (
    "request",
    "body",
    "path",
    "method",
    "path_params",
    "query_params",
    "headers",
    "authorization",
)


class Url(str):
    """A URL with its parts as attributes."""

    @property
    def parts(self) -> SplitResult:
        return urlsplit(self)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.parts, name)


class AuthRequest:
    """The request, with the attributes of Starlette's `Request`, as handlers expect."""

    def __init__(self, request: Request | HttpRequest) -> None:
        self._request = request._request if isinstance(request, Request) else request
        self.state = SimpleNamespace()

    @property
    def method(self) -> str:
        return self._request.method or ""

    @property
    def url(self) -> Url:
        return Url(self._request.build_absolute_uri())

    @property
    def headers(self) -> Mapping[str, str]:
        return self._request.headers

    @property
    def query_params(self) -> dict[str, str]:
        return {key: str(value) for key, value in self._request.GET.items()}

    @property
    def path_params(self) -> dict[str, str]:
        match = self._request.resolver_match
        return {key: str(value) for key, value in match.kwargs.items()} if match else {}

    @property
    def cookies(self) -> Mapping[str, str]:
        return self._request.COOKIES

    @property
    def client(self) -> SimpleNamespace:
        return SimpleNamespace(host=self._request.META.get("REMOTE_ADDR"), port=None)

    @property
    def scope(self) -> Any:
        return getattr(self._request, "scope", {})

    async def body(self) -> bytes:
        return self._request.body

    async def json(self) -> Any:
        return loads(self._request.body)


def argument(request: AuthRequest, name: str) -> Any:
    """The value of the parameter `name`."""
    if name == "request":
        return request
    if name == "body":
        return _parsed_body(request)
    if name == "path":
        return request._request.path
    if name == "headers":
        return {
            key.lower().encode("latin-1"): value.encode("latin-1", "replace")
            for key, value in request.headers.items()
        }
    if name == "authorization":
        return request.headers.get("Authorization")
    return getattr(request, name)


def _parsed_body(request: AuthRequest) -> Any:
    """The parsed body; None if it is missing or malformed, which the view reports."""
    try:
        return loads(request._request.body)
    except (ValueError, RecursionError):
        return None
