"""When a schedule fires next. Pure: no database, no clock.

A schedule has five fields (minute, hour, day of month, month, day of week) or six,
with the seconds first; or it is a name such as `@daily`. cronsim parses the fields and
computes dates; changes of the clock in a time zone are handled here:

- A schedule with fixed hours (`30 2 * * *`, `0 */6 * * *`) means local times. Each
  local time fires once: a skipped one fires right after the gap (several in one gap:
  once), a repeated one fires the first time.
- A schedule for every hour (`*/15 * * * *`) means intervals: it keeps firing through a
  repeated hour, and has no slot in a skipped one.

Days follow Debian's cron: when both day fields are restricted either may match, unless
one of them starts with `*`.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import cache, lru_cache
from zoneinfo import ZoneInfo, available_timezones

from cronsim import CronSim, CronSimError

NAMED = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
MAX_LENGTH = 255
FIELDS = (
    ("second", 59),
    ("minute", 59),
    ("hour", 23),
    ("day-of-month", 31),
    ("month", 12),
    ("day-of-week", 7),
)
# The values that each field takes, for error messages.
TAKES = {
    "second": "0-59",
    "minute": "0-59",
    "hour": "0-23",
    "day-of-month": "1-31, L (the last day) or LW (the last weekday)",
    "month": "1-12 or JAN-DEC",
    "day-of-week": "0-7 or SUN-SAT, or as in 5L (last Friday) and 1#2 (second Monday)",
}
EVERY_HOUR = set(range(24))
SECOND = timedelta(seconds=1)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
# No time zone changes its offset by more than this at once.
MAX_CHANGE = timedelta(hours=3)
# An arbitrary instant, to parse the fields of a schedule.
EPOCH = datetime(2000, 1, 1)


class BadSchedule(ValueError):
    """A schedule that is invalid or never fires; the message says why."""


class BadTimezone(ValueError):
    """A text that is not the name of a time zone."""


def check_schedule(schedule: str) -> None:
    """Raise `BadSchedule` if `schedule` is invalid or never fires."""
    if next(CronSim(_fields(schedule), EPOCH), None) is None:
        raise BadSchedule(f"{schedule!r} never occurs")


@lru_cache(maxsize=1024)
def zone(name: str | None) -> ZoneInfo:
    """The time zone of that IANA name; UTC for None."""
    if name is not None and name not in _zone_names():
        raise BadTimezone(f"{name!r} is not the name of an IANA time zone")
    return ZoneInfo(name or "UTC")


def describe(schedule: str) -> str:
    """The schedule in plain English."""
    return CronSim(_fields(schedule), EPOCH).explain()


def slots(
    schedule: str, timezone: str | None, *, after: datetime
) -> Iterator[datetime]:
    """Every slot later than `after`, in UTC."""
    while (slot := next_slot(schedule, timezone, after=after)) is not None:
        yield slot
        after = slot


def next_slot(
    schedule: str, timezone: str | None, *, after: datetime
) -> datetime | None:
    """The first slot later than `after`, in UTC, or None if there is none."""
    fields, tz = _fields(schedule), zone(timezone)
    if CronSim(fields, EPOCH).hours == EVERY_HOUR:
        return _next_by_elapsed_time(fields, tz, after.astimezone(UTC))
    return _next_by_wall_clock(fields, tz, after.astimezone(UTC))


def count_by_hour(
    schedule: str, timezone: str | None, *, after: datetime, before: datetime
) -> Iterator[tuple[datetime, int]]:
    """Count the slots between two times: yields hours in UTC with a number of slots.

    An hour may come twice. A schedule for every second has 600,000 slots a week, which
    are not computed one by one, except around a change of the clock.
    """
    parsed = CronSim(_fields(schedule), EPOCH)
    ticks = sorted(60 * m + s for m in parsed.minutes for s in parsed.seconds)
    while True:
        slot = next_slot(schedule, timezone, after=after)
        if slot is None or slot >= before:
            return
        local = slot.astimezone(zone(timezone)).replace(tzinfo=None)
        for part in (DAY, HOUR):
            begin = local.replace(minute=0, second=0)
            begin = begin.replace(hour=0) if part == DAY else begin
            end = slot + (begin + part - local)
            if _change_of_offset(zone(timezone), slot - MAX_CHANGE, end) is None:
                break
        else:
            yield slot.replace(minute=0, second=0), 1
            after = slot
            continue
        for hour in sorted(parsed.hours) if part == DAY else [local.hour]:
            start = slot + (local.replace(hour=hour, minute=0, second=0) - local)
            yield from _count_ticks(ticks, start, max(start, slot), before)
        after = end - SECOND


def _count_ticks(
    ticks: list[int], start: datetime, first: datetime, before: datetime
) -> Iterator[tuple[datetime, int]]:
    """Count ticks in the hour from `start` on, which may be in two hours of UTC."""
    change = start.replace(minute=0, second=0) + HOUR
    for begin, end in ((first, change), (max(first, change), start + HOUR)):
        ends = (begin - start, min(end, before) - start)
        low, high = (bisect_left(ticks, one.total_seconds()) for one in ends)
        if low < high:
            yield begin.replace(minute=0, second=0), high - low


def _next_by_wall_clock(fields: str, tz: ZoneInfo, after: datetime) -> datetime | None:
    # Local times in the second pass of a repeated hour have fired in the first pass.
    for reading in CronSim(fields, after.astimezone(tz).replace(tzinfo=None)):
        slot = _first_instant(reading, tz)
        if slot > after:
            return slot
    return None


def _first_instant(reading: datetime, tz: ZoneInfo) -> datetime:
    """When a clock in `tz` first shows `reading`, or skips it to a later time."""
    instant = reading.replace(tzinfo=tz).astimezone(UTC)
    if instant.astimezone(tz).replace(tzinfo=None) == reading:
        return instant
    before_the_gap = reading.replace(tzinfo=tz, fold=1).astimezone(UTC)
    return _change_of_offset(tz, before_the_gap, instant) or instant


def _next_by_elapsed_time(
    fields: str, tz: ZoneInfo, after: datetime
) -> datetime | None:
    # The offset is constant between two changes of the clock.
    start = after.replace(microsecond=0) + SECOND
    while True:
        local = start.astimezone(tz).replace(tzinfo=None)
        reading = next(CronSim(fields, local - SECOND), None)
        if reading is None:
            return None
        slot = start + (reading - local)
        change = _change_of_offset(tz, start, slot)
        if change is None:
            return slot
        start = change


def _change_of_offset(tz: ZoneInfo, start: datetime, end: datetime) -> datetime | None:
    """The first instant in (start, end] at which `tz` has another UTC offset."""
    offset = start.astimezone(tz).utcoffset()
    while start < end:
        later = min(start + DAY, end)
        if later.astimezone(tz).utcoffset() != offset:
            break
        start = later
    else:
        return None
    while later - start > SECOND:
        middle = start + (later - start) // (2 * SECOND) * SECOND
        if middle.astimezone(tz).utcoffset() == offset:
            start = middle
        else:
            later = middle
    return later


@lru_cache(maxsize=4096)
def _fields(schedule: str) -> str:
    """The schedule's five or six fields, validated."""
    if len(schedule) > MAX_LENGTH:
        raise BadSchedule(f"longer than {MAX_LENGTH} characters")
    text = schedule.strip()
    if text.startswith("@"):
        if text.lower() not in NAMED:
            raise BadSchedule(f"{text!r} is not one of {', '.join(NAMED)}")
        return NAMED[text.lower()]
    parts = text.upper().split()
    if len(parts) not in (5, 6):
        raise BadSchedule(
            f"{text!r} must have five fields (minute hour day-of-month month "
            "day-of-week), or six with seconds first"
        )
    for part, (name, highest) in zip(parts, FIELDS[-len(parts) :], strict=True):
        _check_steps(part, name, highest)
    try:
        CronSim(" ".join(parts), EPOCH)
    except CronSimError as exc:
        raise BadSchedule(f"{text!r}{_why(str(exc), parts)}") from None
    return " ".join(parts)


def _why(problem: str, parts: list[str]) -> str:
    """The error message for the field that cronsim rejects."""
    name = problem.removeprefix("Bad ")
    if name == "day-of-month":
        with suppress(CronSimError):
            CronSim(f"* * {parts[-3]} * *", EPOCH)
            return " never occurs"
    return f": bad {name}; allowed: {TAKES[name]}, lists, ascending ranges, and steps"


def _check_steps(part: str, name: str, highest: int) -> None:
    """Refuse steps that don't mean what their author probably intended."""
    for term in part.split(","):
        base, slash, step = term.partition("/")
        if not slash:
            continue
        first, dash, last = base.partition("-")
        if base in ("L", "LW") or (dash and first == last):
            raise BadSchedule(f"{name} {term!r}: a step needs a range")
        if step.isdecimal() and int(step) > highest:
            raise BadSchedule(f"{name} {term!r}: the step is larger than the field")


@cache
def _zone_names() -> set[str]:
    # `localtime` is the machine's own zone, which differs between machines.
    return available_timezones() - {"localtime"}
