"""Making API keys, and knowing them again.

A key that was just found is trusted for `REMEMBERED_SECS`, so that most requests cost
no query; that is also how long a revoked one may go on working.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable
from datetime import datetime, timedelta

from django.db.models import Q
from django.db.models.functions import Now
from django.utils import timezone

from spool.access.callers import Caller, checked_identity, new_caller
from spool.access.models import ApiKey
from spool.access.remembered import Remembered
from spool.access.scopes import check

START = "spool_"
SHOWN = len(START) + 6
REMEMBERED_SECS = 3.0
MAX_REMEMBERED = 10_000
# `last_used_at` is for people: to the minute is enough.
USE_NOTED_EVERY = timedelta(minutes=1)


def create_key(
    *,
    owner: str,
    name: str = "",
    scopes: Iterable[str] = (),
    expires_at: datetime | None = None,
) -> tuple[ApiKey, str]:
    """The stored key, and its text, which nobody can tell again.

    Raises `BadIdentity` and `BadScope`.
    """
    text = START + secrets.token_urlsafe(32)
    key = ApiKey.objects.create(
        owner=checked_identity(owner),
        name=name,
        prefix=text[:SHOWN],
        digest=digest_of(text),
        scopes=[check(scope) for scope in scopes],
        expires_at=expires_at,
    )
    return key, text


def revoke(keys: Iterable[ApiKey]) -> int:
    """How many of these worked until now."""
    ids = [key.pk for key in keys]
    unrevoked = ApiKey.objects.filter(pk__in=ids, revoked_at=None)
    changed = unrevoked.update(revoked_at=Now())
    remembered.forget()  # Other processes do so within `REMEMBERED_SECS`.
    return changed


def delete_owned_by(owner: str) -> int:
    """Delete all API keys of an owner. How many there were."""
    found = ApiKey.objects.filter(owner=owner).delete()[1]
    return found.get(ApiKey._meta.label, 0)


def find_caller(text: str) -> Caller | None:
    """Whose key this is; None if it is none, or no more."""
    digest = digest_of(text)
    if known := remembered.get(digest):
        return known
    key = ApiKey.objects.usable().filter(digest=digest).first()
    if key is None:
        return None
    _note_use(key)
    scopes = tuple(key.scopes) or None
    caller = new_caller(key.owner, scopes=scopes, key=key.prefix, api_key_id=key.pk)
    remembered.put(digest, caller, _trusted_secs(key))
    return caller


def digest_of(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()


def _note_use(key: ApiKey) -> None:
    stale = Q(last_used_at=None) | Q(last_used_at__lt=Now() - USE_NOTED_EVERY)
    if key.last_used_at is None or timezone.now() - key.last_used_at > USE_NOTED_EVERY:
        ApiKey.objects.filter(stale, pk=key.pk).update(last_used_at=Now())


def _trusted_secs(key: ApiKey) -> float:
    if key.expires_at is None:
        return REMEMBERED_SECS
    left = (key.expires_at - timezone.now()).total_seconds()
    return min(REMEMBERED_SECS, left)


remembered = Remembered(MAX_REMEMBERED)
