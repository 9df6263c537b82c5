"""Move items nearer to their expiry, or past it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.db import connection
from django.db.models import F

from spool.store.models import StoreItem


def end_sooner() -> Any:
    """Take three minutes from every item. Return the new expiry times."""
    StoreItem.objects.update(expires_at=F("expires_at") - timedelta(minutes=3))
    return end_of_items()


def end_of_items() -> Any:
    return dict(StoreItem.objects.values_list("key", "expires_at"))


def expire(**which: Any) -> None:
    """Make items expire a moment ago."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT now() - interval '1 second'")
        StoreItem.objects.filter(**which).update(expires_at=cursor.fetchone()[0])
