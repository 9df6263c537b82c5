"""Django's middleware for browsers, limited to the admin, and redirects of slashes.

The API authenticates callers by keys and tokens: it needs neither sessions nor CSRF
tokens, and these would cost a fifth of a small request. They are skipped for all paths
outside of `/admin/`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.contrib.auth import middleware as auth
from django.contrib.messages import middleware as messages
from django.contrib.sessions import middleware as sessions
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.middleware import clickjacking, csrf
from django.urls import is_valid_path

from spool.web import errors

ADMIN = "/admin/"


class _AdminOnly:
    get_response: Any

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        if request.path_info.startswith(ADMIN):
            response: HttpResponseBase = super().__call__(request)  # type: ignore[misc]
        else:
            response = self.get_response(request)
        return response


class SessionMiddleware(_AdminOnly, sessions.SessionMiddleware):
    """Makes all cookies secure over TLS, not only the session's."""

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        response = super().__call__(request)
        if request.is_secure():
            for cookie in response.cookies.values():
                cookie["secure"] = True
        return response


class CsrfViewMiddleware(_AdminOnly, csrf.CsrfViewMiddleware):
    """Still checks the views of all paths, except exempt ones such as the API's."""


class AuthenticationMiddleware(_AdminOnly, auth.AuthenticationMiddleware):
    pass


class MessageMiddleware(_AdminOnly, messages.MessageMiddleware):
    pass


class XFrameOptionsMiddleware(_AdminOnly, clickjacking.XFrameOptionsMiddleware):
    pass


class ContentSecurityPolicy:
    """Lets the admin's pages load only the server's own files, and forbids frames.

    Alpine, which the pages use, compiles attributes to functions (`unsafe-eval`).
    """

    policy = "; ".join(
        (
            "default-src 'self'",
            "script-src 'self' 'unsafe-eval'",
            "style-src 'self' 'unsafe-inline'",
            "img-src 'self' data:",
            "font-src 'self' data:",
            "object-src 'none'",
            "base-uri 'none'",
            "form-action 'self'",
            "frame-ancestors 'none'",
        )
    )

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        response = self.get_response(request)
        if request.path_info.startswith(ADMIN):
            response["Content-Security-Policy"] = self.policy
        return response


class RedirectTrailingSlashes:
    """307 for a route with a trailing slash, which no route of the API has."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        path = request.path_info
        without = path.rstrip("/")
        is_slashed = path.endswith("/") and without and not is_valid_path(path)
        if not (is_slashed and is_valid_path(without)):
            return self.get_response(request)
        query = request.META.get("QUERY_STRING")
        place = request.path.rstrip("/") + (f"?{query}" if query else "")
        return HttpResponse(status=307, headers={"Location": place})


class BoundBodies:
    """413 for a body over the limit, unless `web.handler` has refused it already."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        length = request.META.get("CONTENT_LENGTH") or "0"
        if length.isdecimal() and int(length) > settings.REQUEST_MAX_BYTES:
            return errors.too_large()
        return self.get_response(request)
