"""What every viewset of an owned resource starts from."""

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
    """A viewset that names, for each of its actions, the event the policy is asked.

    `events` maps a DRF action to `"<resource>.<action>"`. An action that is not
    listed can't be served: it fails closed, with a KeyError in its first test.
    """

    events: ClassVar[dict[str, str]]

    def scope(self, value: dict[str, Any] | None = None) -> Scope:
        """Ask the policy; see `access.policy.authorize` for `value`."""
        return authorize(self.request, self.events[self.action], value)


def authenticated_user(scope: MutableMapping[str, Any]) -> User | None:
    """The user that an ASGI request or handshake comes from; see `web.hooks`."""
    # A WebSocket begins as a GET, whose scope does not say so.
    caller = authenticate(ASGIRequest({"method": "GET", **scope}, BytesIO()))
    return User(caller.user) if caller else None


def not_found(request: HttpRequest, exception: Exception) -> JsonResponse:
    """What no route answers. Who has to log in is told so first."""
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
