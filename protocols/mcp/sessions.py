"""Sessions of 2025-11-25, of which no process has to know anything.

What a later request needs of `initialize` (can the client ask its user?) is in the
session's id itself, signed. So any web process can answer, also one that was started since.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass

from django.core import signing
from mcp_types import (
    ClientCapabilities,
    ElicitationCapability,
    FormElicitationCapability,
)

SALT = "spool.mcp.session"


class UnknownSession(ValueError):
    """A session id that was not made here."""


@dataclass(frozen=True)
class Session:
    """`nonce` tells sessions apart; `elicits` says that the client can ask its user."""

    nonce: str
    elicits: bool

    @property
    def id(self) -> str:
        return signing.dumps([self.nonce, self.elicits], salt=SALT)

    @property
    def capabilities(self) -> ClientCapabilities:
        form = ElicitationCapability(form=FormElicitationCapability())
        return ClientCapabilities(elicitation=form if self.elicits else None)


def new_session(capabilities: ClientCapabilities | None) -> Session:
    return Session(secrets.token_urlsafe(12), can_elicit(capabilities))


def find_session(session_id: str) -> Session:
    """Raises `UnknownSession`."""
    try:
        return Session(*signing.loads(session_id, salt=SALT))
    except signing.BadSignature as exc:
        raise UnknownSession(str(exc)) from None


def can_elicit(capabilities: ClientCapabilities | None) -> bool:
    """Whether the client shows forms: what says nothing of modes means forms."""
    elicitation = capabilities.elicitation if capabilities else None
    return elicitation is not None and bool(
        elicitation.form is not None or elicitation.url is None
    )
