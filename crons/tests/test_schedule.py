from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from itertools import islice, takewhile
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spool.crons.schedule import (
    BadSchedule,
    BadTimezone,
    check_schedule,
    count_by_hour,
    describe,
    next_slot,
    slots,
    zone,
)

MINUTE = timedelta(minutes=1)


def at(text: str, timezone: str = "UTC") -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(timezone))


def local_slots(schedule: str, timezone: str, after: str, count: int) -> list[str]:
    tz = ZoneInfo(timezone)
    found = islice(slots(schedule, timezone, after=at(after, timezone)), count)
    return [slot.astimezone(tz).isoformat() for slot in found]


# --- A second implementation: try every minute, and check whether it matches. -------
MONTHS = [
    "jan",
    "feb",
    "mar",
    "apr",
    "may",
    "jun",
    "jul",
    "aug",
    "sep",
    "oct",
    "nov",
    "dec",
]
WEEKDAYS = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"]


def number(text: str, names: list[str], first: int) -> int:
    return names.index(text.lower()) + first if text.isalpha() else int(text)


def matches(
    field: str, value: int, low: int, high: int, names: list[str], first: int = 0
) -> bool:
    for term in field.split(","):
        base, _, step = term.partition("/")
        lower, _, upper = base.partition("-")
        if base == "*":
            start, stop = low, high
        else:
            start = number(lower, names, first)
            stop = number(upper, names, first) if upper else start
            if step and not upper:
                stop = high
        if start <= value <= stop and (value - start) % int(step or 1) == 0:
            return True
    return False


def day_matches(fields: list[str], day: date) -> bool:
    of_month, month, of_week = fields[-3:]
    if not matches(month, day.month, 1, 12, MONTHS, 1):
        return False
    by_month = day_of_month_matches(of_month, day)
    by_week = day_of_week_matches(of_week, day)
    if of_month.startswith("*") or of_week.startswith("*"):
        return by_month and by_week
    return by_month or by_week


def day_of_month_matches(field: str, day: date) -> bool:
    is_last = (day + timedelta(days=1)).day == 1
    terms = field.upper().split(",")
    plain = ",".join(term for term in terms if term not in ("L", "LW"))
    return (
        ("L" in terms and is_last)
        or ("LW" in terms and day == last_working_day(day))
        or (plain != "" and matches(plain, day.day, 1, 31, []))
    )


def last_working_day(day: date) -> date:
    last = max(
        date(day.year, day.month, number)
        for number in range(1, 32)
        if (date(day.year, day.month, 1) + timedelta(days=number - 1)).month
        == day.month
    )
    while last.isoweekday() > 5:
        last -= timedelta(days=1)
    return last


def day_of_week_matches(field: str, day: date) -> bool:
    names = {day.isoweekday(), day.isoweekday() % 7}  # Sunday is 7 and 0.
    for term in field.split(","):
        if term.upper().endswith("L"):
            fits = (day + timedelta(days=7)).month != day.month
            if fits and int(term[:-1]) in names:
                return True
        elif "#" in term:
            weekday, nth = term.split("#")
            fits = (day.day - 1) // 7 + 1 == int(nth)
            if fits and number(weekday, WEEKDAYS, 0) in names:
                return True
        elif any(matches(term, name, 0, 7, WEEKDAYS) for name in names):
            return True
    return False


def reading_matches(fields: list[str], reading: datetime) -> bool:
    second, minute, hour = fields[:3]
    return (
        matches(minute, reading.minute, 0, 59, [])
        and matches(hour, reading.hour, 0, 23, [])
        and matches(second, reading.second, 0, 59, [])
        and day_matches(fields, reading.date())
    )


def expected_slots(
    schedule: str, timezone: str, start: datetime, end: datetime
) -> Iterator[datetime]:
    """Check the local time at each step from after `start` until `end`."""
    fields = schedule.split()
    step = timedelta(seconds=1) if len(fields) == 6 else MINUTE
    fields = ["0", *fields][-6:]
    names_hours = not all(matches(fields[2], hour, 0, 23, []) for hour in range(24))
    tz = ZoneInfo(timezone)
    instant = start
    shown = start.astimezone(tz)
    while instant < end:
        instant += step
        shown, before = instant.astimezone(tz), shown
        skipped = before.replace(tzinfo=None) + step
        fires = reading_matches(fields, shown) and not (names_hours and shown.fold)
        while names_hours and not fires and skipped < shown.replace(tzinfo=None):
            fires = reading_matches(fields, skipped)
            skipped += step
        if fires:
            yield instant


def values(low: int, high: int, names: list[str]) -> st.SearchStrategy[str]:
    one = st.integers(low, high).map(str)
    if names:
        one = one | st.sampled_from(names) | st.sampled_from(names).map(str.upper)
    pair = st.tuples(st.integers(low, high), st.integers(low, high)).filter(
        lambda pair: pair[0] != pair[1]
    )
    ranges = pair.map(lambda pair: f"{min(pair)}-{max(pair)}")
    stepped = st.tuples(ranges | one | st.just("*"), st.integers(1, high)).map(
        lambda term: f"{term[0]}/{term[1]}"
    )
    term = one | ranges | stepped
    return st.lists(term, min_size=1, max_size=3).map(",".join) | st.just("*")


times = values(0, 59, [])
hours = values(0, 23, [])
months = values(1, 12, MONTHS)
days = values(1, 31, []) | st.sampled_from(["L", "LW", "15,L", "LW,1"])
weekdays = values(0, 7, WEEKDAYS) | st.sampled_from(["5L", "7L", "0L,3", "2#1", "7#3"])
dates = st.tuples(days, months, weekdays).map(" ".join)

# A change in each direction, and rules that are easy to get wrong: by half an hour, at
# midnight, in the south, negative in winter, a skipped day, and around Ramadan.
CHANGES = [
    ("America/New_York", "2026-03-08"),
    ("America/New_York", "2026-11-01"),
    ("Europe/Berlin", "2027-03-28"),
    ("Europe/Berlin", "2033-10-30"),
    ("Europe/Dublin", "2029-10-28"),
    ("Australia/Lord_Howe", "2030-04-07"),
    ("Australia/Lord_Howe", "2031-10-05"),
    ("Africa/Cairo", "2028-04-28"),
    ("America/Santiago", "2032-04-04"),
    ("America/Sao_Paulo", "2018-11-04"),
    ("America/Sao_Paulo", "2018-02-18"),
    ("Africa/Casablanca", "2034-11-12"),
    ("Pacific/Apia", "2011-12-30"),
    ("Asia/Kolkata", "2026-06-15"),
]


def found_until(
    schedule: str, timezone: str | None, start: datetime, end: datetime
) -> list[datetime]:
    found = slots(schedule, timezone, after=start)
    return list(takewhile(lambda slot: slot <= end, found))


@given(st.sampled_from(["0", "7,52"]), st.sampled_from(["0", "23"]), dates)
@settings(max_examples=30, deadline=None)
def test_ten_years_of_days_match(minutes: str, hour: str, days: str) -> None:
    start, end = at("2024-12-31T23:59"), at("2034-12-31T23:59")
    schedule = f"{minutes} {hour} {days}"

    try:
        found = found_until(schedule, None, start, end)
    except BadSchedule:
        found = []

    assert found == [
        datetime(day.year, day.month, day.day, int(at_hour), int(minute), tzinfo=UTC)
        for day in (start.date() + timedelta(days=n) for n in range(1, 3653))
        if day_matches(schedule.split(), day)
        for at_hour in hour.split(",")
        for minute in minutes.split(",")
    ]


@given(times, hours, dates, st.sampled_from(CHANGES), st.integers(0, 1000))
@settings(max_examples=50, deadline=None)
def test_every_minute_around_a_change_of_the_clock_matches(
    minute: str, hour: str, days: str, change: tuple[str, str], offset: int
) -> None:
    timezone, day = change
    start = at(day, timezone).astimezone(UTC) - 12 * 60 * MINUTE + offset * MINUTE
    end = start + 36 * 60 * MINUTE
    schedule = f"{minute} {hour} {days}"

    try:
        found = found_until(schedule, timezone, start, end)
    except BadSchedule:
        found = []

    assert found == list(expected_slots(schedule, timezone, start, end))


@given(times, times, hours, st.sampled_from(CHANGES), st.integers(0, 7200))
@settings(max_examples=15, deadline=None)
def test_every_second_around_a_change_of_the_clock_matches(
    second: str, minute: str, hour: str, change: tuple[str, str], offset: int
) -> None:
    timezone, day = change
    start = at(day, timezone).astimezone(UTC) + timedelta(seconds=offset)
    end = start + timedelta(hours=2)
    schedule = f"{second} {minute} {hour} * * *"

    found = found_until(schedule, timezone, start, end)

    assert found == list(expected_slots(schedule, timezone, start, end))


@given(times, hours, dates, st.sampled_from(CHANGES), st.floats(0, 3e8))
@settings(max_examples=200, deadline=None)
def test_slots_go_forward(
    minute: str, hour: str, days: str, change: tuple[str, str], seconds: float
) -> None:
    after = at(change[1]) + timedelta(seconds=seconds)

    try:
        slot = next_slot(f"{minute} {hour} {days}", change[0], after=after)
    except BadSchedule:
        slot = None

    assert slot is None or (slot > after and slot.microsecond == 0)


def test_the_skipped_hour_fires_once() -> None:
    assert local_slots("*/20 2 * * *", "America/New_York", "2026-03-08T00:00", 2) == [
        "2026-03-08T03:00:00-04:00",
        "2026-03-09T02:00:00-04:00",
    ]


def test_the_doubled_hour_fires_once() -> None:
    assert local_slots("30 1 * * *", "America/New_York", "2026-11-01T00:00", 2) == [
        "2026-11-01T01:30:00-04:00",
        "2026-11-02T01:30:00-05:00",
    ]


def test_a_slot_asked_for_in_the_second_pass_of_the_doubled_hour_is_tomorrow() -> None:
    second_pass = at("2026-11-01T01:15", "America/New_York").replace(fold=1)

    slot = next_slot("30 1 * * *", "America/New_York", after=second_pass)

    assert slot == at("2026-11-02T06:30")


def test_a_schedule_for_every_hour_goes_on_through_the_doubled_hour() -> None:
    assert local_slots("30 * * * *", "America/New_York", "2026-11-01T00:45", 3) == [
        "2026-11-01T01:30:00-04:00",
        "2026-11-01T01:30:00-05:00",
        "2026-11-01T02:30:00-05:00",
    ]


@pytest.mark.parametrize(
    ("schedule", "after", "expected"),
    [
        ("0 9 * * 1", "2026-11-23T09:00", "2026-11-30T09:00"),  # Monday.
        ("0 9 * * 0", "2026-11-23T09:00", "2026-11-29T09:00"),
        ("0 9 * * 7", "2026-11-23T09:00", "2026-11-29T09:00"),  # Sunday too.
        ("0 9 * * 5-7", "2026-11-28T10:00", "2026-11-29T09:00"),
        ("0 9 * * mon-FRI", "2026-11-20T09:00", "2026-11-23T09:00"),
        ("*/10 * * * * *", "2026-11-23T09:00:11", "2026-11-23T09:00:20"),
        ("30 0 9 * * *", "2026-11-23T09:00", "2026-11-23T09:00:30"),
        ("  0   9 * *  * ", "2026-11-23T09:00", "2026-11-24T09:00"),
        ("0 0 L * *", "2028-02-01T00:00", "2028-02-29T00:00"),
        ("0 0 * * 5L", "2026-11-01T00:00", "2026-11-27T00:00"),
        ("0 0 1 JUL/2 *", "2026-08-01T00:00", "2026-09-01T00:00"),
        ("0 0 13 * 5", "2026-11-14T00:00", "2026-11-20T00:00"),
        ("@yearly", "2026-11-23T00:00", "2027-01-01T00:00"),
        ("@Annually", "2026-11-23T00:00", "2027-01-01T00:00"),
        ("@monthly", "2026-11-23T00:00", "2026-12-01T00:00"),
        ("@weekly", "2026-11-23T00:00", "2026-11-29T00:00"),
        ("@daily", "2026-11-23T00:00", "2026-11-24T00:00"),
        ("@midnight", "2026-11-23T00:00", "2026-11-24T00:00"),
        ("@hourly", "2026-11-23T00:00", "2026-11-23T01:00"),
    ],
)
def test_next_slot(schedule: str, after: str, expected: str) -> None:
    check_schedule(schedule)

    assert next_slot(schedule, None, after=at(after)) == at(expected)


@pytest.mark.parametrize(
    ("schedule", "reason"),
    [
        ("", "must have five fields"),
        ("* * * *", "must have five fields"),
        ("* * * * * * *", "must have five fields"),
        ("nonsense", "must have five fields"),
        ("60 * * * *", "bad minute"),
        ("-1 * * * *", "bad minute"),
        ("1.5 * * * *", "bad minute"),
        ("*/0 * * * *", "bad minute"),
        ("9-5 * * * *", "bad minute"),
        ("1,,2 * * * *", "bad minute"),
        ("\u0665 * * * *", "bad minute"),
        ("*/\u00b2 * * * *", "bad minute"),
        ("*/90 * * * *", "the step is larger than the field"),
        ("5-5/10 * * * *", "a step needs a range"),
        ("0 24 * * *", "bad hour"),
        ("0 0 32 * *", "bad day-of-month"),
        ("0 0 ? * 1", "bad day-of-month"),
        ("0 0 15W * *", "bad day-of-month"),
        ("0 0 L-3 * *", "bad day-of-month"),
        ("0 0 L/2 * *", "a step needs a range"),
        ("0 0 30 2 *", "never occurs"),
        ("0 0 31 4,6 *", "never occurs"),
        ("0 0 32 2 *", "bad day-of-month"),
        ("0 22-2 * * *", "bad hour; allowed: 0-23, lists, ascending ranges"),
        ("0 0 * * ?", "bad day-of-week; allowed: 0-7 or SUN-SAT"),
        ("0 0 * 13 *", "bad month"),
        ("0 0 * * 8", "bad day-of-week"),
        ("0 0 * * L", "bad day-of-week"),
        ("0 0 * * 1#6", "bad day-of-week"),
        ("0 0 * * sat-sun", "bad day-of-week"),
        ("60 0 0 * * *", "bad second"),
        ("@reboot", "is not one of @yearly"),
        ("@every 5m", "is not one of @yearly"),
        ("0 0 */31,1-2 2 2#5", "never occurs"),
        ("0 " * 200, "longer than 255 characters"),
    ],
)
def test_check_schedule_says_what_is_wrong(schedule: str, reason: str) -> None:
    with pytest.raises(BadSchedule, match=reason):
        check_schedule(schedule)


@pytest.mark.parametrize(
    "name", ["", "Mars/Olympus", "EST5EDT4", "../../etc/passwd", "localtime", "utc\0"]
)
def test_zone_refuses_what_is_no_iana_name(name: str) -> None:
    with pytest.raises(BadTimezone, match="is not the name of an IANA time zone"):
        zone(name)


def test_describe_says_it_in_words() -> None:
    assert describe("0 9 * * 1-5") == "At 09:00 on Monday through Friday"
    assert describe("@hourly") == "At the start of every hour"
    assert describe("*/10 * * * * *") == "Every 10th second of every minute"


@pytest.mark.parametrize("name", [None, "Europe/Berlin", "Asia/Kathmandu"])
@pytest.mark.parametrize(
    "schedule", ["*/7 * * * *", "30 2 * * *", "*/20 1-3 * * SUN", "59,30 15 */6 * * *"]
)
def test_slots_are_counted_by_hour(schedule: str, name: str | None) -> None:
    """Even around the change of the clock on 2026-10-25."""
    after = datetime(2026, 10, 23, 5, 13, 27, tzinfo=UTC)
    before = after + timedelta(days=3, minutes=17)
    one_by_one = Counter(
        slot.replace(minute=0, second=0)
        for slot in takewhile(
            lambda slot: slot < before, slots(schedule, name, after=after)
        )
    )

    counted: Counter[datetime] = Counter()
    for hour, count in count_by_hour(schedule, name, after=after, before=before):
        counted[hour] += count

    assert counted == one_by_one
