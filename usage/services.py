"""Use cases that change stored usage."""

from __future__ import annotations

from django.db import connection
from django.db.models import Q

from spool.access.models import ApiKey
from spool.usage.models import Budget, UsageRuns, UsageTotal
from spool.usage.statements import MERGE

# How far back counters are merged. If a server was off for longer, older ones stay.
MERGED_DAYS = 40
BATCH = 500


def merge_counters() -> int:
    """Merge counters of past days with equal fields. Returns how many were merged."""
    total = 0
    with connection.cursor() as cursor:
        while True:
            cursor.execute(MERGE, {"days": MERGED_DAYS, "limit": BATCH})
            (merged,) = cursor.fetchone()
            if not merged:
                return total
            total += merged


def delete_owned_by(owner: str) -> int:
    """Delete the usage of an owner."""
    found = (UsageTotal.objects.of_owner(owner), UsageRuns.objects.of_owner(owner))
    return sum(rows.delete()[0] for rows in found)


def delete_budgets_of(owner: str) -> int:
    """Delete the budgets of an owner, and those of their API keys."""
    keys = ApiKey.objects.filter(owner=owner).values("pk")
    return Budget.objects.filter(Q(owner=owner) | Q(api_key_id__in=keys)).delete()[0]
