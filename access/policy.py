"""The access policy: decides for every request what the caller may do and see.

A view calls `authorize` with its event (`"threads.read"`) and the event's values. The
result is a `Scope`; every queryset of a view is `visible_to(scope)`.
"""

from __future__ import annotations

from typing import Any

from django.db.models import Q
from django.http import HttpRequest
from rest_framework.request import Request

from spool.access import scopes
from spool.access.authentication import caller_of
from spool.access.callers import SYSTEM, Caller
from spool.access.handlers import handlers
from spool.access.scope import EVERYTHING, STAMPED, Forbidden, Scope
from spool.telemetry import logs

__all__ = ["EVERYTHING", "Forbidden", "Scope", "authorize"]


def authorize(
    request: Request | HttpRequest, event: str, value: dict[str, Any] | None = None
) -> Scope:
    """Check that the caller may do `event`, and return the rows that it may use.

    `value` holds the event's values, with the keys of the official `Auth` contract.
    If it has `metadata`, the caller's stamp is written into that dictionary in place:
    use it afterwards, not what the client sent.
    """
    caller = caller_of(request)
    if caller is None or caller is SYSTEM:
        return EVERYTHING
    logs.bind(owner=caller.identity)
    value = value if value is not None else {}
    if custom := handlers():
        return custom.authorize(caller, event, value)
    return _of_owner(caller, event, value)


def _of_owner(caller: Caller, event: str, value: dict[str, Any]) -> Scope:
    """Spool's own policy: callers see their own rows and the system's assistants."""
    resource, _, action = event.partition(".")
    if not scopes.allow(caller.scopes, resource, action):
        raise Forbidden
    if action in STAMPED and isinstance(value.get("metadata"), dict):
        value["metadata"]["owner"] = caller.identity
    rows = Q(owner=caller.identity)
    if resource == "assistants" and action in scopes.LOOKING:
        rows |= Q(is_system=True)
    key_id = caller.api_key_id
    return Scope(caller.identity, rows, caller.user, key_id, is_plain=True)
