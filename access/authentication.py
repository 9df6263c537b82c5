"""Authenticate requests by an API key, a token, or `auth.path` in langgraph.json.

Without configuration no authentication is required.
"""

from __future__ import annotations

from typing import Any, cast

from django.conf import settings
from django.http import HttpRequest
from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import NotAuthenticated
from rest_framework.request import Request

from spool.access import keys, origins, tokens
from spool.access.callers import Caller
from spool.access.handlers import handlers
from spool.config.access_mode import is_open
from spool.web import inside


class Unauthenticated(NotAuthenticated):
    default_detail = "Not authenticated: send an API key or a token"


class InvalidKey(NotAuthenticated):
    default_detail = "Invalid API key"


class InvalidToken(NotAuthenticated):
    default_detail = "Invalid token"


class Authentication(BaseAuthentication):
    """The authentication class of Django REST Framework, for every view."""

    def authenticate(self, request: Request) -> tuple[Any, Any] | None:
        caller = authenticate(request)
        return (caller, None) if caller else None

    def authenticate_header(self, request: Request) -> str:
        return "Bearer"


def authenticate(request: Request | HttpRequest) -> Caller | None:
    """The caller; None only if no login is required. Raises 401."""
    origin = inside.origin_of(request)
    if origin and (found := origins.caller_of(origin, authenticate)):
        return found
    if custom := handlers():
        return custom.authenticate(request)
    if is_open():
        return None
    bearer, key = _bearer(request), request.META.get("HTTP_X_API_KEY", "").strip()
    takes_keys = "api_key" in settings.AUTH
    # `Authorization` takes precedence: SDKs also send `x-api-key` if their environment
    # has a key.
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
    """As `authenticate`, which is called only once per request."""
    if isinstance(request, Request):
        # Typed as Django's user, but `Authentication` sets a `Caller` or None.
        found: Any = request.user
        if found is None and not is_open():
            raise Unauthenticated  # The view has no authentication.
        return cast("Caller | None", found)
    attributes = request.__dict__
    if "spool_caller" not in attributes:
        attributes["spool_caller"] = authenticate(request)
    return cast("Caller | None", attributes["spool_caller"])


def _bearer(request: Request | HttpRequest) -> str:
    scheme, _, token = request.META.get("HTTP_AUTHORIZATION", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""
