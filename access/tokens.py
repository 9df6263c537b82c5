"""JSON Web Tokens of an external issuer, signed with a shared secret or a key of a set.

A key set (JWKS) is fetched on first use, when it is old, and when a token names an
unknown key, since keys are rotated. Tokens with invented key names can't cause more
than one fetch every `RETRY_SECS`. If a fetch fails, the last set stays in use.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping
from functools import cache
from typing import Any

import httpx
import jwt
from django.conf import settings

from spool.access.callers import BadIdentity, Caller, new_caller

logger = logging.getLogger(__name__)

FRESH_SECS = 600.0
RETRY_SECS = 10.0
FETCH_TIMEOUT_SECS = 5.0
# Claims about the token itself, which are of no use to a graph.
NOT_KEPT = ("exp", "iat", "nbf", "jti")


class BadToken(Exception):
    """A token that is not valid; the message is safe to show to the client."""


def find_caller(token: str) -> Caller:
    """The caller of this token. Raises `BadToken`."""
    claims = _verified(token)
    identity = claims.get(settings.JWT_IDENTITY_CLAIM)
    scopes = _scopes(claims)
    named = claims.get("name") or claims.get("email") or identity
    try:
        return new_caller(
            identity,
            scopes=scopes,
            display_name=str(named),
            claims={k: v for k, v in claims.items() if k not in NOT_KEPT},
        )
    except BadIdentity:
        raise BadToken(
            f"Invalid token: no usable claim {settings.JWT_IDENTITY_CLAIM}"
        ) from None


def _verified(token: str) -> dict[str, Any]:
    try:
        claims: dict[str, Any] = jwt.decode(
            token,
            _key_for(token),
            algorithms=settings.JWT_ALGORITHMS,
            issuer=settings.JWT_ISSUER or None,
            audience=settings.JWT_AUDIENCE or None,
            leeway=settings.JWT_LEEWAY_SECS,
            options={
                "require": ["exp"],
                "verify_aud": bool(settings.JWT_AUDIENCE),
                # The identity may be in a claim other than `sub`.
                "verify_sub": False,
            },
        )
    except jwt.ExpiredSignatureError:
        raise BadToken("The token has expired") from None
    except (jwt.PyJWTError, ValueError, TypeError):
        # The reason would help an attacker who forges tokens.
        raise BadToken("Invalid token") from None
    return claims


def _key_for(token: str) -> Any:
    if not settings.JWT_JWKS_URL:
        return settings.JWT_SECRET
    header = jwt.get_unverified_header(token)
    found = key_set(settings.JWT_JWKS_URL).find(header.get("kid"))
    if found is None:
        raise BadToken("Invalid token")
    return found.key


def _scopes(claims: Mapping[str, Any]) -> tuple[str, ...] | None:
    """The token's scopes; None if no claim is configured for them."""
    if not settings.JWT_SCOPES_CLAIM:
        return None
    given = claims.get(settings.JWT_SCOPES_CLAIM) or []
    listed = given.split() if isinstance(given, str) else given
    return tuple(str(scope) for scope in listed) if isinstance(listed, list) else ()


class KeySet:
    def __init__(self, url: str) -> None:
        self.url = url
        self._keys: list[jwt.PyJWK] = []
        self._fetched_at = self._tried_at = float("-inf")
        self._lock = threading.Lock()

    def find(self, kid: Any) -> jwt.PyJWK | None:
        now = time.monotonic()
        if now - self._fetched_at > FRESH_SECS:
            self._fetch(now)
        found = self._known(kid)
        if found is None and now - self._tried_at > RETRY_SECS:
            self._fetch(now)
            found = self._known(kid)
        return found

    def _known(self, kid: Any) -> jwt.PyJWK | None:
        if kid is None:  # Optional if the set has only one key.
            return self._keys[0] if len(self._keys) == 1 else None
        return next((key for key in self._keys if key.key_id == kid), None)

    def _fetch(self, now: float) -> None:
        with self._lock:
            # Another thread has just fetched the set, or has failed to.
            if now - self._tried_at <= RETRY_SECS:
                return
            self._tried_at = time.monotonic()
            try:
                answer = httpx.get(self.url, timeout=FETCH_TIMEOUT_SECS)
                answer.raise_for_status()
                keys = jwt.PyJWKSet.from_dict(answer.json()).keys
            except (httpx.HTTPError, jwt.PyJWTError, ValueError, TypeError) as exc:
                logger.warning("cannot fetch the key set %s: %s", self.url, exc)
                return
            self._keys = [key for key in keys if key.public_key_use in (None, "sig")]
            self._fetched_at = time.monotonic()


@cache
def key_set(url: str) -> KeySet:
    return KeySet(url)
