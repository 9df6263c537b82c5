"""Encrypts secrets of clients, to store them in Postgres.

The key is derived from `DJANGO_SECRET_KEY`. Secrets that were encrypted with an earlier
key can be read as long as that key is in `SECRET_KEY_FALLBACKS`.
"""

from __future__ import annotations

import base64
from functools import lru_cache

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from django.conf import settings

KEY_BYTES = 32
PURPOSE = b"spool.webhooks.secrets"


class Unreadable(ValueError):
    """A secret that none of the server's keys can decrypt."""


def encrypt(text: str) -> str:
    return _keys().encrypt(text.encode()).decode()


def decrypt(kept: str) -> str:
    """Decrypt a stored secret. Raises `Unreadable`."""
    try:
        return _keys().decrypt(kept.encode()).decode()
    except InvalidToken:
        raise Unreadable(
            "it was encrypted with a DJANGO_SECRET_KEY that is no longer in use"
        ) from None


def _keys() -> MultiFernet:
    return _made_from((settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS))


@lru_cache(maxsize=4)
def _made_from(secrets: tuple[str, ...]) -> MultiFernet:
    return MultiFernet([Fernet(_key(secret)) for secret in secrets])


def _key(secret: str) -> bytes:
    derivation = HKDF(SHA256(), length=KEY_BYTES, salt=None, info=PURPOSE)
    return base64.urlsafe_b64encode(derivation.derive(secret.encode()))
