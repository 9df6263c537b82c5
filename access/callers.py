"""Who is asking, once that is known."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from spool.access.owner import MAX_OWNER_LENGTH


class BadIdentity(ValueError):
    """Text that can't be an owner's name."""


@dataclass(frozen=True)
class Caller:
    """`user` is what graphs get as `langgraph_auth_user`.

    `scopes` limit what the caller may do, see `access.scopes`; None is everything.
    `key` says whose rate of requests is counted, `api_key_id` which API key was shown.
    """

    identity: str
    scopes: tuple[str, ...] | None = None
    user: dict[str, Any] = field(default_factory=dict)
    key: str = ""
    api_key_id: UUID | None = None


def new_caller(
    identity: Any,
    *,
    scopes: tuple[str, ...] | None = None,
    key: str = "",
    api_key_id: UUID | None = None,
    **more: Any,
) -> Caller:
    """Raises `BadIdentity` for what is no name, or none that the database could keep."""
    name = checked_identity(identity)
    user = {
        "display_name": name,
        "is_authenticated": True,
        "permissions": list(scopes or ()),
        **more,
        "identity": name,
    }
    return Caller(name, scopes, user, key or name, api_key_id)


def checked_identity(identity: Any) -> str:
    # Control characters and lone surrogates are replaced on their way into Postgres,
    # and long text is cut: two callers would become one.
    if not isinstance(identity, str) or not identity or not identity.isprintable():
        raise BadIdentity("an identity must be printable text")
    if len(identity) > MAX_OWNER_LENGTH:
        raise BadIdentity(f"an identity has at most {MAX_OWNER_LENGTH} characters")
    return identity
