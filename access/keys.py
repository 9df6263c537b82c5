"""Create, verify and revoke API keys.

A verified key is cached for `REMEMBERED_SECS`, so that most requests need no query. A
revoked key may keep working for that time.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable
from datetime import datetime, timedelta
from uuid import UUID

from django.db import transaction
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
# `last_used_at` is only displayed, so it need not be exact.
USE_NOTED_EVERY = timedelta(minutes=1)


def create_key(
    *,
    owner: str,
    name: str = "",
    scopes: Iterable[str] = (),
    expires_at: datetime | None = None,
) -> tuple[ApiKey, str]:
    """Create a key. Returns it and its text, which can't be recovered later.

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
    """Revoke these keys. Returns how many of them were not revoked before."""
    ids = [key.pk for key in keys]
    unrevoked = ApiKey.objects.filter(pk__in=ids, revoked_at=None)
    changed = unrevoked.update(revoked_at=Now())
    # Other processes forget the key within `REMEMBERED_SECS`. This one forgets it
    # twice, since it might cache the key again before the change is committed.
    remembered.forget()
    transaction.on_commit(remembered.forget)
    return changed


def delete_owned_by(owner: str) -> int:
    """Delete all API keys of an owner. Returns their number."""
    found = ApiKey.objects.filter(owner=owner).delete()[1]
    return found.get(ApiKey._meta.label, 0)


def find_caller(text: str) -> Caller | None:
    """The caller of this key; None if the key is unknown, expired or revoked."""
    digest = digest_of(text)
    if known := remembered.get(digest):
        return known
    key = ApiKey.objects.usable().filter(digest=digest).first()
    if key is None:
        return None
    _note_use(key)
    caller = _caller(key)
    remembered.put(digest, caller, _trusted_secs(key))
    return caller


def caller_with_id(key_id: UUID) -> Caller | None:
    """The caller of the key with this id; None if it is expired or revoked."""
    key = ApiKey.objects.usable().filter(pk=key_id).first()
    return _caller(key) if key else None


def _caller(key: ApiKey) -> Caller:
    scopes = tuple(key.scopes) or None
    return new_caller(key.owner, scopes=scopes, key=key.prefix, api_key_id=key.pk)


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
