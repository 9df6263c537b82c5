"""Who is asking: an API key, a token, or what `auth.path` in langgraph.json makes of it.

Without configuration nobody has to say.
"""

from __future__ import annotations

from typing import Any, cast

from django.conf import settings
from django.http import HttpRequest
from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import NotAuthenticated
from rest_framework.request import Request

from spool.access import keys, tokens
from spool.access.callers import Caller
from spool.access.handlers import handlers
from spool.config.access_mode import is_open


class Unauthenticated(NotAuthenticated):
    default_detail = "Not authenticated: send an API key or a token"


class InvalidKey(NotAuthenticated):
    default_detail = "Invalid API key"


class InvalidToken(NotAuthenticated):
    default_detail = "Invalid token"


class Authentication(BaseAuthentication):
    """What Django REST Framework asks before each view."""

    def authenticate(self, request: Request) -> tuple[Any, Any] | None:
        caller = authenticate(request)
        return (caller, None) if caller else None

    def authenticate_header(self, request: Request) -> str:
        return "Bearer"


def authenticate(request: Request | HttpRequest) -> Caller | None:
    """The caller; None only where nobody has to log in. Raises 401."""
    if custom := handlers():
        return custom.authenticate(request)
    if is_open():
        return None
    bearer, key = _bearer(request), request.headers.get("x-api-key", "").strip()
    takes_keys = "api_key" in settings.AUTH
    # A header `x-api-key` may only come from an SDK's environment: the other was meant.
    if bearer and (bearer.count(".") == 2 or not takes_keys):
        return _of_token(bearer)
    if takes_keys and (bearer or key):
        return _of_key(bearer or key)
    raise Unauthenticated


def _of_key(text: str) -> Caller:
    caller = keys.find_caller(text)
    if caller is None:
        raise InvalidKey
    return caller


def _of_token(text: str) -> Caller:
    if "jwt" not in settings.AUTH:
        raise InvalidKey
    try:
        return tokens.find_caller(text)
    except tokens.BadToken as exc:
        raise InvalidToken(str(exc)) from None


def caller_of(request: Request | HttpRequest) -> Caller | None:
    """The same, asked once per request."""
    if isinstance(request, Request):
        # Not through a cast of its type: it is ours, or None.
        found: Any = request.user
        if found is None and not is_open():
            raise Unauthenticated  # A view without authentication has no answers.
        return cast("Caller | None", found)
    attributes = request.__dict__
    if "spool_caller" not in attributes:
        attributes["spool_caller"] = authenticate(request)
    return cast("Caller | None", attributes["spool_caller"])


def _bearer(request: Request | HttpRequest) -> str:
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""
