"""What crons fire next: by hour for a week, and one after another.

Only so many crons and firings are read; the calendar ends where it would not be whole.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import islice
from math import ceil
from typing import Any

from django.utils import timezone

from spool.assistants.models import Assistant
from spool.crons.models import Cron
from spool.crons.schedule import BadSchedule, BadTimezone, slots, zone

DAYS = 7
HOUR = timedelta(hours=1)
MAX_CRONS = 200
MAX_FIRINGS = 2_000
# Of those that are listed one after another.
MAX_LISTED = 50
# Of one cron, on its page.
MAX_COMING = 5


@dataclass(frozen=True, slots=True, order=True)
class Firing:
    """A slot of a cron, in the future, or late if it is not."""

    at: datetime
    cron: Cron = field(compare=False)

    @property
    def local_text(self) -> str:
        """The time in the cron's own zone."""
        return f"{self.at.astimezone(zone(self.cron.timezone)):%m-%d %H:%M:%S}"


@dataclass(frozen=True, slots=True)
class Hour:
    start: datetime
    # None after the end of the calendar.
    count: int | None
    # From 0 (nothing) to 4 (the most of all hours), for its colour.
    level: int


def calendar(since: datetime | None) -> dict[str, Any]:
    """The context of `console/cron_calendar.html`: firings listed from `since` on."""
    now = timezone.now()
    first = now.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    midnight = first.replace(hour=0)
    week = midnight + timedelta(days=DAYS)
    found, end = _coming(week)
    by_hour = Counter(
        max(one.at, first).replace(minute=0, second=0, microsecond=0) for one in found
    )
    most = max(by_hour.values(), default=0)
    # What is late counts for this hour.
    shown = [one for one in found if since is None or max(one.at, first) >= since]
    return {
        "hours": range(24),
        "days": [
            [
                _hour(midnight + (24 * day + n) * HOUR, by_hour, most, end)
                for n in range(24)
            ]
            for day in range(DAYS)
        ],
        "now": now,
        "first": first,
        "since": since,
        "end": end,
        "is_cut": end < week,
        "firings": _named(shown[:MAX_LISTED]),
        "left_out": max(len(shown) - MAX_LISTED, 0),
    }


def coming_of(cron: Cron) -> list[datetime]:
    """The next slots of a cron, in UTC."""
    return [one.at for one in islice(_firings(cron), MAX_COMING)]


def _hour(
    start: datetime, by_hour: Counter[datetime], most: int, end: datetime
) -> Hour:
    if start >= end:
        return Hour(start, None, 0)
    count = by_hour[start]
    return Hour(start, count, ceil(4 * count / most) if most else 0)


def _coming(end: datetime) -> tuple[list[Firing], datetime]:
    """All firings until a time: `end`, or an earlier one if there are too many."""
    enabled = Cron.objects.filter(enabled=True, next_run_date__lt=end)
    enabled = enabled.defer("payload", "given", "metadata", "creator")
    crons = list(enabled.order_by("next_run_date")[: MAX_CRONS + 1])
    if len(crons) > MAX_CRONS:
        end = crons.pop().next_run_date or end
    merged = heapq.merge(*(_firings(cron) for cron in crons))
    found = list(islice(merged, MAX_FIRINGS + 1))
    if len(found) > MAX_FIRINGS:
        end = min(end, found.pop().at)
    return [one for one in found if one.at < end], end


def _firings(cron: Cron) -> Iterator[Firing]:
    slot = cron.next_run_date if cron.enabled else None
    if slot is None:
        return
    last = cron.end_time or datetime.max.replace(tzinfo=UTC)
    if slot <= last:
        yield Firing(slot, cron)
    try:
        # Missed slots don't fire one by one.
        after = max(slot, timezone.now())
        for later in slots(cron.schedule, cron.timezone, after=after):
            if later > last:
                return
            yield Firing(later, cron)
    except (BadSchedule, BadTimezone):  # Of an older version; the tick disables it.
        return


def _named(firings: list[Firing]) -> list[tuple[Firing, str]]:
    """Firings with the names of their assistants."""
    ids = {one.cron.assistant_id for one in firings}
    names = dict(Assistant.objects.filter(pk__in=ids).values_list("pk", "name"))
    return [
        (one, names.get(one.cron.assistant_id, str(one.cron.assistant_id)))
        for one in firings
    ]
