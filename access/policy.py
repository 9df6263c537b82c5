"""The access policy: decides for every request what the caller may do and see.

A view calls `authorize` with its event (`"threads.read"`) and the event's value. The
result has a `Scope`, and the value as the policy allows it. Every queryset of a view is
`visible_to(scope)`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.db.models import Q
from django.http import HttpRequest
from rest_framework.request import Request

from spool.access import scopes
from spool.access.authentication import caller_of
from spool.access.callers import SYSTEM, Caller
from spool.access.handlers import handlers
from spool.access.scope import EVERYTHING, STAMPED, Allowed, Forbidden, Scope
from spool.telemetry import logs

__all__ = ["EVERYTHING", "Allowed", "Forbidden", "Scope", "authorize"]


def authorize(
    request: Request | HttpRequest, event: str, value: Mapping[str, Any] | None = None
) -> Allowed:
    """Check that the caller may do `event`. Raises 403, for example.

    `value` has the keys of the official `Auth` contract for this event. It is not
    changed: use the returned value, which has the caller's stamp, afterwards.
    """
    value = value or {}
    caller = caller_of(request)
    if caller is None or caller is SYSTEM:
        return Allowed(EVERYTHING, value)
    logs.bind(owner=caller.identity)
    if custom := handlers():
        return custom.authorize(caller, event, value)
    return _of_owner(caller, event, value)


def _of_owner(caller: Caller, event: str, value: Mapping[str, Any]) -> Allowed:
    """Spool's own policy: callers see their own rows and the system's assistants."""
    resource, _, action = event.partition(".")
    if not scopes.allow(caller.scopes, resource, action):
        raise Forbidden
    metadata = value.get("metadata")
    if action in STAMPED and isinstance(metadata, Mapping):
        value = {**value, "metadata": {**metadata, "owner": caller.identity}}
    rows = Q(owner=caller.identity)
    if resource == "assistants" and action in scopes.LOOKING:
        rows |= Q(is_system=True)
    key_id = caller.api_key_id
    return Allowed(
        Scope(caller.identity, rows, caller.user, key_id, is_plain=True), value
    )
