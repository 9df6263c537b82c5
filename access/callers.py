"""The authenticated caller."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from spool.access.owner import MAX_OWNER_LENGTH


class BadIdentity(ValueError):
    """A value that can't be an owner's name."""


@dataclass(frozen=True)
class Caller:
    """An authenticated caller. `user` is what graphs get as `langgraph_auth_user`.

    `scopes` limit what the caller may do, see `access.scopes`; None means no limit.
    `key` identifies the caller for the rate limit; `api_key_id` is the API key used.
    """

    identity: str
    scopes: tuple[str, ...] | None = None
    user: dict[str, Any] = field(default_factory=dict)
    key: str = ""
    api_key_id: UUID | None = None


# The operator's own code, which may do everything; see `web.inside`.
SYSTEM = Caller("", key="system")


def new_caller(
    identity: Any,
    *,
    scopes: tuple[str, ...] | None = None,
    key: str = "",
    api_key_id: UUID | None = None,
    **more: Any,
) -> Caller:
    """Build a caller. Raises `BadIdentity` for an invalid or unstorable identity."""
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
    # Control characters and lone surrogates are replaced when they are stored, and
    # long text is cut: two callers would become one.
    if not isinstance(identity, str) or not identity or not identity.isprintable():
        raise BadIdentity("an identity must be printable text")
    if len(identity) > MAX_OWNER_LENGTH:
        raise BadIdentity(f"an identity has at most {MAX_OWNER_LENGTH} characters")
    return identity
