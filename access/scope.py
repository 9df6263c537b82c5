"""The rows that a caller may see."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from django.db.models import Q
from rest_framework.exceptions import PermissionDenied

# A condition on a table with the column `owner`, for a plain scope.
OWNED = "(%(scope_owner)s::text IS NULL OR owner = %(scope_owner)s::text)"


@dataclass(frozen=True)
class Scope:
    """The rows that a caller may see.

    `owner` is the caller's partition of the store; "" is the shared one. `rows` filters
    any model that has the columns `metadata` and `owner`. `user` is what graphs get as
    `langgraph_auth_user`, or None.
    """

    owner: str = ""
    rows: Q = field(default_factory=Q)
    user: dict[str, Any] | None = None
    # The API key of the request, if it has one.
    api_key_id: UUID | None = None
    # Whether `rows` means all rows, or those of `owner` (and the system's assistants).
    # Then plain SQL can have the same condition; see `OWNED` and `params`.
    is_plain: bool = False

    @property
    def params(self) -> dict[str, str | None]:
        return {"scope_owner": self.owner if self.rows else None}

    @property
    def identity(self) -> str | None:
        return self.user["identity"] if self.user else None

    @property
    def permissions(self) -> list[str]:
        return list(self.user.get("permissions", [])) if self.user else []


@dataclass(frozen=True)
class Allowed:
    """What the policy allows a caller to do.

    `value` is the event's value, with the caller's stamp in its `metadata`, and with
    the changes that the operator's handler made, if there is one.
    """

    scope: Scope
    value: Mapping[str, Any]


# All rows: for Spool's own work (the tick, sweeps, the admin), never for a request.
EVERYTHING = Scope(is_plain=True)

# Actions that create or change a row get the owner's stamp.
STAMPED = ("create", "update", "create_run")


class Forbidden(PermissionDenied):
    default_detail = "Forbidden"
