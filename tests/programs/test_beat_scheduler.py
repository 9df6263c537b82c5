"""Beat survives outages of Postgres."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.conf import settings
from django.db import OperationalError
from django.utils.module_loading import import_string
from django_celery_beat.schedulers import DatabaseScheduler

from spool.config.celery import app
from spool.periodic import ensure_periodic_tasks

pytestmark = pytest.mark.django_db(transaction=True)

Away = Callable[[int], None]


@pytest.fixture
def away(monkeypatch: pytest.MonkeyPatch) -> Away:
    """Make Postgres unavailable for the given number of times that beat reads it."""
    monkeypatch.setattr("spool.beat_scheduler.RETRY_SECS", 0)
    ensure_periodic_tasks()
    read = DatabaseScheduler.all_as_schedule
    left = [0]

    def reading(scheduler: DatabaseScheduler) -> Any:
        if left[0]:
            left[0] -= 1
            raise OperationalError("the database system is starting up")
        return read(scheduler)

    def be_away(times: int) -> None:
        left[0] = times

    monkeypatch.setattr(DatabaseScheduler, "all_as_schedule", reading)
    return be_away


def new_scheduler() -> Any:
    return import_string(settings.CELERY_BEAT_SCHEDULER)(app=app)


def test_beat_starts_once_postgres_is_there(away: Away) -> None:
    away(3)

    assert "runs: tick" in new_scheduler().schedule


def test_beat_goes_on_by_what_it_knows(away: Away) -> None:
    scheduler = new_scheduler()
    scheduler._last_full_sync = scheduler._last_full_sync.min  # As after some minutes.
    away(1)

    known = scheduler.schedule
    del known["runs: tick"]

    # The schedule is read again at once, and not only after minutes.
    assert "runs: tick" in scheduler.schedule
