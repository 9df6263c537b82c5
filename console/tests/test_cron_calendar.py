from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from spool.console import cron_calendar
from spool.console.cron_calendar import Hour, calendar, coming_of
from spool.crons.models import Cron, CronFiring

pytestmark = pytest.mark.django_db

CALENDAR = "/admin/crons/cron/calendar/"


def make(schedule: str, at: datetime, **fields: Any) -> Cron:
    return Cron.objects.create(
        assistant_id=uuid4(), schedule=schedule, next_run_date=at, **fields
    )


@pytest.fixture
def next_hour() -> datetime:
    """The beginning of the next hour, in UTC."""
    now = timezone.now().astimezone(UTC)
    return now.replace(minute=0, second=0, microsecond=0) + timedelta(hours=1)


def counts(context: dict[str, Any]) -> dict[datetime, int]:
    hours: list[Hour] = [hour for day in context["days"] for hour in day]
    return {hour.start: hour.count for hour in hours if hour.count}


def test_firings_are_counted_by_hour_until_they_end(next_hour: datetime) -> None:
    end = next_hour + timedelta(hours=1)
    ending = make("*/20 * * * *", next_hour, end_time=end)
    make("0 0 1 1 *", next_hour, enabled=False)

    found = calendar(None)

    assert counts(found) == {next_hour: 3, end: 1}
    [(next_one, _)] = found["firings"]
    assert next_one.at == next_hour
    [(last, _)] = calendar(end + timedelta(minutes=7))["firings"]
    assert (last.at, last.count, last.cron) == (end, 1, ending)


def test_a_weekly_slot_that_has_just_passed_is_shown_for_the_next_week(
    next_hour: datetime,
) -> None:
    coming = next_hour + timedelta(days=7, hours=-1)
    make(f"0 {coming.hour} * * {coming:%a}", coming)

    assert counts(calendar(None)) == {coming: 1}


def test_a_week_of_frequent_crons_is_counted(next_hour: datetime) -> None:
    for _ in range(2):
        make("* * * * *", next_hour)
    make("30 */2 * * * *", next_hour + timedelta(seconds=30), timezone="Asia/Kolkata")

    found = calendar(None)

    assert not found["is_cut"]
    assert set(counts(found).values()) == {2 * 60 + 30}
    [*_, (half, _)] = calendar(next_hour)["firings"]
    assert (half.at, half.count) == (next_hour + timedelta(seconds=30), 30)


def test_what_is_late_fires_once_now(next_hour: datetime) -> None:
    ended = next_hour - timedelta(hours=12)
    late = make("* * * * *", next_hour - timedelta(days=1), end_time=ended)

    [(hour, count)] = counts(calendar(None)).items()

    assert (hour < next_hour + timedelta(hours=1), count) == (True, 1)
    for shown in (None, hour):
        [(firing, _)] = calendar(shown)["firings"]
        assert firing.at == late.next_run_date


def test_it_ends_where_it_would_not_be_whole(
    next_hour: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    later = next_hour + timedelta(hours=5)
    monkeypatch.setattr(cron_calendar, "MAX_HOURS", 7)
    make("0 * * * *", next_hour)
    make("30 * * * *", next_hour + timedelta(minutes=30))

    by_hours = calendar(None)

    assert by_hours["is_cut"]
    assert by_hours["end"] == next_hour + timedelta(hours=3)
    assert set(counts(by_hours).values()) == {2}
    monkeypatch.setattr(cron_calendar, "MAX_CRONS", 2)
    make("0 * * * *", later + timedelta(minutes=3))
    assert calendar(None)["end"] <= later


def test_the_next_firings_of_one_cron(next_hour: datetime) -> None:
    ended = make("0 * * * *", next_hour, enabled=False)
    going = make("0 * * * *", next_hour)

    assert coming_of(ended) == []
    assert coming_of(going) == [next_hour + timedelta(hours=n) for n in range(5)]


def test_the_page_of_a_cron_that_has_ended(admin_client: Client) -> None:
    ended = make("0 9 * * *", timezone.now(), enabled=False, timezone="Asia/Tokyo")
    Cron.objects.update(disabled_reason="end_time has passed")
    slot = timezone.now() - timedelta(minutes=5)
    CronFiring.objects.create(
        cron=ended, slot=slot, fired_at=slot + timedelta(seconds=90), status="timeout"
    )

    with CaptureQueriesContext(connection) as queries:
        page = admin_client.get(f"/admin/crons/cron/{ended.pk}/change/")

    shown = page.content.decode()
    assert len(queries) <= 20
    assert '<span class="badge info">ended</span>' in shown
    assert '<span class="badge bad">timeout</span>' in shown
    assert "1 min 30 s" in shown
    assert "Never." in shown
    assert "Pause</button>" not in shown


def test_the_page_is_read_in_few_queries(
    admin_client: Client, next_hour: datetime
) -> None:
    for n in range(5):
        make("0 * * * *", next_hour + timedelta(hours=n), timezone="Europe/Berlin")

    with CaptureQueriesContext(connection) as queries:
        shown = admin_client.get(CALENDAR)
    wrong = admin_client.get(CALENDAR, {"from": "2026-13-01T00:00:00Z"})

    assert len(queries) <= 20
    assert "Europe/Berlin" in shown.content.decode()
    assert wrong.status_code == 200
