"""The callers of requests from inside; see `web.inside`."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from typing import cast

from django.core.handlers.asgi import ASGIRequest
from django.http import HttpRequest
from rest_framework.exceptions import APIException, NotAuthenticated

from spool.access import keys
from spool.access.callers import SYSTEM, Caller
from spool.access.handlers import handlers
from spool.config.access_mode import is_open
from spool.web.inside import OfRequest, OfRun, Origin


class KeyIsGone(NotAuthenticated):
    default_detail = "The API key that created this run has expired or was revoked"


def caller_of(
    origin: Origin, authenticate: Callable[[HttpRequest], Caller | None]
) -> Caller | None:
    """The caller; None if the headers of the request have to authenticate it."""
    if isinstance(origin, OfRun):
        return _of_run(origin)
    if isinstance(origin, OfRequest):
        return _of_request(origin, authenticate)
    return SYSTEM


def _of_run(origin: OfRun) -> Caller | None:
    """The user of a run, with the scopes of the credentials that created it."""
    user = origin.user
    if user is None or is_open():
        return None
    identity = str(user["identity"])
    if handlers():
        return Caller(identity, None, user, identity)
    if origin.api_key_id:
        caller = keys.caller_with_id(origin.api_key_id)
        if caller is None:
            raise KeyIsGone
        return caller
    # A token with an empty list of scopes can't create a run: no list means no limit.
    scopes = tuple(user.get("permissions") or ()) or None
    return Caller(identity, scopes, user, identity)


def _of_request(
    origin: OfRequest, authenticate: Callable[[HttpRequest], Caller | None]
) -> Caller | None:
    """The caller of a route of `http.app`; None without valid credentials."""
    if not origin.is_known:
        # A WebSocket's handshake is a GET, but its ASGI scope has no method.
        request = ASGIRequest({"method": "GET", **origin.scope}, BytesIO())
        try:
            origin.caller = authenticate(request)
        except APIException:
            origin.caller = None
        origin.is_known = True
    return cast("Caller | None", origin.caller)
