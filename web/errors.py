"""Every error body that leaves Spool: `{"detail": "<one string>"}`.

An exception can change the format: `body_key` sets another key, `is_plain_text` makes the
body a text.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

from django.core.exceptions import PermissionDenied
from django.db import InterfaceError, OperationalError
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.http.response import HttpResponseBase
from rest_framework import exceptions, status
from rest_framework.response import Response

logger = logging.getLogger(__name__)


class BadRequest(exceptions.APIException):
    status_code = status.HTTP_400_BAD_REQUEST
    default_detail = "Bad Request"


class NotFound(exceptions.APIException):
    status_code = status.HTTP_404_NOT_FOUND
    default_detail = "Not Found"


class Conflict(exceptions.APIException):
    status_code = status.HTTP_409_CONFLICT
    default_detail = "Conflict"


class Unprocessable(exceptions.APIException):
    status_code = status.HTTP_422_UNPROCESSABLE_ENTITY
    default_detail = "Unprocessable Entity"


def exception_handler(exc: Exception, context: dict[str, Any]) -> HttpResponseBase:
    """DRF's `EXCEPTION_HANDLER`. A bug is logged, and answered by a plain 500."""
    if isinstance(exc, Http404):
        exc = NotFound()
    elif isinstance(exc, PermissionDenied):
        exc = exceptions.PermissionDenied("Forbidden")
    elif isinstance(exc, (OperationalError, InterfaceError)):
        return _database_failed(exc, context)
    if isinstance(exc, exceptions.ValidationError):
        return _answer(422, "; ".join(lines(exc.detail)))
    if isinstance(exc, exceptions.MethodNotAllowed):
        return _answer(405, "Method Not Allowed", _headers(exc))
    if isinstance(exc, exceptions.APIException):
        return _answer_for(exc)
    view = context.get("view")
    logger.error("%s: %s failed", _asked(context), type(view).__name__, exc_info=exc)
    return _answer(500, "Internal Server Error")


def answer(code: int, detail: str) -> JsonResponse:
    """The body of an error outside of Django REST Framework's views."""
    return JsonResponse({"detail": detail}, status=code)


def too_large() -> JsonResponse:
    return answer(413, "Request Entity Too Large")


def bad_request(request: HttpRequest, exception: Exception) -> JsonResponse:
    return answer(400, "Bad Request")


def forbidden(request: HttpRequest, exception: Exception) -> JsonResponse:
    return answer(403, "Forbidden")


def not_found(request: HttpRequest, exception: Exception) -> JsonResponse:
    return answer(404, "Not Found")


def server_error(request: HttpRequest) -> JsonResponse:
    return answer(500, "Internal Server Error")


def _answer(code: int, detail: str, headers: dict[str, str] | None = None) -> Response:
    return Response({"detail": detail}, status=code, headers=headers)


def _answer_for(exc: exceptions.APIException) -> HttpResponseBase:
    """Build the error body. Two bodies of the official server have another format."""
    if getattr(exc, "is_plain_text", False):
        text = "text/plain; charset=utf-8"
        return HttpResponse(str(exc.detail), status=exc.status_code, content_type=text)
    body_key = getattr(exc, "body_key", "detail")
    body = {body_key: str(exc.detail)}
    return Response(body, status=exc.status_code, headers=_headers(exc))


def _headers(exc: exceptions.APIException) -> dict[str, str]:
    headers: dict[str, str] = dict(getattr(exc, "headers", None) or {})
    if challenge := getattr(exc, "auth_header", None):
        headers["WWW-Authenticate"] = challenge
    if wait := getattr(exc, "wait", None):
        headers["Retry-After"] = str(int(wait))
    return headers


def _database_failed(exc: Exception, context: dict[str, Any]) -> Response:
    # Clients retry a 503; Postgres's message is only logged.
    logger.error("%s: the database failed", _asked(context), exc_info=exc)
    return _answer(503, "The database is not available: try again")


def _asked(context: dict[str, Any]) -> str:
    """The request's method and path, without its query, which may contain credentials."""
    request = context.get("request")
    return f"{request.method} {request.path}" if request else "no request"


def lines(detail: Any, path: str = "") -> Iterator[str]:
    """A line for each invalid field, named by its path."""
    if isinstance(detail, dict):
        for key, value in detail.items():
            below = path if key == "non_field_errors" else f"{path}.{key}".lstrip(".")
            yield from lines(value, below)
    elif isinstance(detail, list):
        for value in detail:
            yield from lines(value, path)
    else:
        yield f"{path}: {detail}" if path else str(detail)
