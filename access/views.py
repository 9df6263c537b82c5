"""The base class for viewsets of owned resources."""

from __future__ import annotations

from collections.abc import MutableMapping
from io import BytesIO
from typing import Any, ClassVar

from django.core.handlers.asgi import ASGIRequest
from django.http import HttpRequest, JsonResponse
from rest_framework.exceptions import APIException
from rest_framework.viewsets import ViewSet

from spool.access.authentication import authenticate
from spool.access.policy import Scope, authorize
from spool.access.users import User
from spool.web import errors


class ScopedViewSet(ViewSet):
    """A viewset that names the event of each of its actions, for the access policy.

    `events` maps a DRF action to `"<resource>.<action>"`. An action that is not
    listed fails closed, with a KeyError.
    """

    events: ClassVar[dict[str, str]]

    def scope(self, value: dict[str, Any] | None = None) -> Scope:
        """The policy's answer; see `access.policy.authorize` for `value`."""
        return authorize(self.request, self.events[self.action], value)


def authenticated_user(scope: MutableMapping[str, Any]) -> User | None:
    """The user of an ASGI request or handshake; see `web.hooks`."""
    # A WebSocket's handshake is a GET, but its ASGI scope has no method.
    caller = authenticate(ASGIRequest({"method": "GET", **scope}, BytesIO()))
    return User(caller.user) if caller else None


def not_found(request: HttpRequest, exception: Exception) -> JsonResponse:
    """The 404 of unknown routes; authentication is checked first (401)."""
    try:
        authenticate(request)
    except APIException as exc:
        response = errors.answer(exc.status_code, str(exc.detail))
        if exc.status_code == 401:
            response["WWW-Authenticate"] = "Bearer"
        for name, value in getattr(exc, "headers", {}).items():
            response[name] = value
        return response
    return errors.not_found(request, exception)
