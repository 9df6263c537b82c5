"""When crons fire: how often in each hour of a week, and which crons fire next.

A limited number of crons and hours is read; the calendar ends before the first hour of
which it would not have all firings.
"""

from __future__ import annotations

import heapq
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import islice
from math import ceil
from operator import itemgetter
from typing import Any

from django.utils import timezone

from spool.assistants.models import Assistant
from spool.crons.models import Cron
from spool.crons.schedule import (
    SECOND,
    BadSchedule,
    BadTimezone,
    count_by_hour,
    slots,
    zone,
)

# The rest of today and a whole week, so that each weekly slot is shown.
DAYS = 8
HOUR = timedelta(hours=1)
MAX_CRONS = 1_000
# The sum, over all schedules, of hours in which one fires; a daily schedule has eight.
MAX_HOURS = 10_000
# Crons that are listed.
MAX_LISTED = 50
# Slots that are listed on a cron's page.
MAX_COMING = 5
NEVER = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True, order=True)
class Firing:
    """A slot of a cron. It is in the future, or late."""

    at: datetime
    cron: Cron = field(compare=False)
    # How often the cron fires in the chosen hour, if one is chosen.
    count: int = field(default=1, compare=False)

    @property
    def local_text(self) -> str:
        """The time in the cron's own zone."""
        return f"{self.at.astimezone(zone(self.cron.timezone)):%m-%d %H:%M:%S}"


@dataclass(frozen=True, slots=True)
class Hour:
    start: datetime
    # None after the end of the calendar.
    count: int | None
    # The colour, from 0 (no firings) to 4 (as many as in the busiest hour).
    level: int


@dataclass(frozen=True, slots=True)
class Timing:
    """The times at which crons fire. Many crons share one, so it is counted once."""

    schedule: str
    timezone: str | None
    end_time: datetime | None
    next_run_date: datetime

    @classmethod
    def of(cls, cron: Cron) -> Timing:
        # Listed crons are enabled, and have a next slot.
        slot = cron.next_run_date or NEVER
        return cls(cron.schedule, cron.timezone, cron.end_time, slot)

    def by_hour(self, now: datetime, end: datetime) -> Iterator[tuple[datetime, int]]:
        """Hours with their number of slots. A late slot counts for the current hour."""
        last = (self.end_time or NEVER - SECOND).replace(microsecond=0) + SECOND
        if self.next_run_date < min(end, last):
            yield _floor(max(self.next_run_date, now)), 1
        after = max(self.next_run_date, now)
        try:
            yield from count_by_hour(
                self.schedule, self.timezone, after=after, before=min(end, last)
            )
        except (BadSchedule, BadTimezone):  # Of an older version; the tick disables it.
            return


def calendar(since: datetime | None) -> dict[str, Any]:
    """The context of `console/cron_calendar.html`.

    It lists the crons that fire in the hour of `since`; for None, those that fire next.
    """
    now = timezone.now().astimezone(UTC)
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    last = midnight + timedelta(days=DAYS)
    crons, counted, end = _coming(now, last)
    by_hour: Counter[datetime] = Counter()
    for cron in crons:
        by_hour.update(counted[Timing.of(cron)])
    most = max(by_hour.values(), default=0)
    hour = None if since is None else _floor(since.astimezone(UTC))
    firings = _listed(crons, counted, now, hour)
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
        "since": hour,
        "end": end,
        "is_cut": end < last,
        "firings": _named(firings[:MAX_LISTED]),
        "left_out": max(len(firings) - MAX_LISTED, 0),
    }


def _floor(time: datetime) -> datetime:
    return time.replace(minute=0, second=0, microsecond=0)


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


def _coming(
    now: datetime, end: datetime
) -> tuple[Sequence[Cron], dict[Timing, Counter[datetime]], datetime]:
    """The crons that fire next, their slots by timing and hour, and the end of both."""
    enabled = Cron.objects.filter(enabled=True, next_run_date__lt=end)
    enabled = enabled.defer("payload", "given", "metadata", "creator")
    crons = list(enabled.order_by("next_run_date")[: MAX_CRONS + 1])
    if len(crons) > MAX_CRONS:
        end = _floor(crons.pop().next_run_date or end)
    hours = heapq.merge(
        *(
            _hours_of(timing, now, end)
            for timing in dict.fromkeys(map(Timing.of, crons))
        ),
        key=itemgetter(0),
    )
    found = list(islice(hours, MAX_HOURS + 1))
    if len(found) > MAX_HOURS:
        end = found.pop()[0]
    counted: dict[Timing, Counter[datetime]] = defaultdict(Counter)
    for hour, count, timing in found:
        if hour < end:
            counted[timing][hour] += count
    return crons, counted, end


def _hours_of(
    timing: Timing, now: datetime, end: datetime
) -> Iterator[tuple[datetime, int, Timing]]:
    for hour, count in timing.by_hour(now, end):
        yield hour, count, timing


def _listed(
    crons: Sequence[Cron],
    counted: dict[Timing, Counter[datetime]],
    now: datetime,
    hour: datetime | None,
) -> list[Firing]:
    """Each cron once: with its next firing, or with its first one in `hour`."""
    if hour is None:
        return sorted(Firing(cron.next_run_date or NEVER, cron) for cron in crons)
    firings = []
    for cron in crons:
        if count := counted[Timing.of(cron)][hour]:
            shown = (one for one in _firings(cron, hour) if max(one.at, now) >= hour)
            firings += [Firing(one.at, cron, count) for one in islice(shown, 1)]
    return sorted(firings)


def _firings(cron: Cron, since: datetime | None = None) -> Iterator[Firing]:
    slot = cron.next_run_date if cron.enabled else None
    if slot is None:
        return
    last = cron.end_time or NEVER
    if slot <= last:
        yield Firing(slot, cron)
    try:
        # Missed slots don't fire one by one.
        after = max(slot, timezone.now())
        if since is not None:
            after = max(after, since - SECOND)
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
