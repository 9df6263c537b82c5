"""Sessions of 2025-11-25, without state in any process.

What later requests need to know from `initialize` (can the client ask its user?) is in
the signed session id. So any web process can answer, even one that was started later.
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
    """A session id that this server has not signed."""


@dataclass(frozen=True)
class Session:
    """A client's session. `nonce` is unique; `elicits`: the client can ask its user."""

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
    """Parse a session id. Raises `UnknownSession`."""
    try:
        return Session(*signing.loads(session_id, salt=SALT))
    except signing.BadSignature as exc:
        raise UnknownSession(str(exc)) from None


def can_elicit(capabilities: ClientCapabilities | None) -> bool:
    """Whether the client shows forms. If it names no modes, it does."""
    elicitation = capabilities.elicitation if capabilities else None
    return elicitation is not None and bool(
        elicitation.form is not None or elicitation.url is None
    )
