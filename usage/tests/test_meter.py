"""Counters of a process: each call counts once, even if written twice or late."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from datetime import date, timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.db import connection
from django.utils import timezone

from spool.database.json import jsonb
from spool.usage.meter import Meter, Reading, Source
from spool.usage.models import UsageTotal
from spool.usage.services import merge_counters
from spool.usage.statements import WRITE
from spool.usage.tokens import Tokens, tokens_of_call

ONE = Tokens(calls=1, input=10, output=5)


def source(**changes: Any) -> Source:
    given = {
        "owner": "alice",
        "api_key_id": None,
        "assistant_id": uuid4(),
        "graph_id": "chat",
        "revision": "r1",
        "node": "agent",
        "provider": "tiny",
        "model": "tiny-1",
    }
    return Source(**{**given, **changes})


def write(readings: Iterable[Reading]) -> None:
    rows: Any = jsonb([reading.as_json() for reading in readings])
    with connection.cursor() as cursor:
        cursor.execute(WRITE, {"usage": rows})


def written() -> list[tuple[int, int, int]]:
    return sorted(UsageTotal.objects.values_list("calls", "input", "output"))


@pytest.mark.django_db
def test_a_write_that_is_repeated_counts_nothing_twice() -> None:
    meter, here = Meter(), source()
    meter.add(here, ONE)
    readings = meter.unwritten()
    write(readings)
    write(readings)
    meter.written(readings)
    assert meter.unwritten() == []

    meter.add(here, ONE)
    write(meter.unwritten())

    assert written() == [(2, 20, 10)]


@pytest.mark.django_db
def test_a_write_that_comes_late_takes_nothing_back() -> None:
    meter, here = Meter(), source()
    meter.add(here, ONE)
    early = meter.unwritten()
    meter.add(here, ONE)
    late = meter.unwritten()

    write(late)
    meter.written(late)
    write(early)
    meter.written(early)

    assert written() == [(2, 20, 10)]
    assert meter.unwritten() == []


def test_what_is_used_while_it_is_written_is_not_written_yet() -> None:
    meter, here = Meter(), source()
    meter.add(here, ONE)
    readings = meter.unwritten()
    meter.add(here, ONE)

    meter.written(readings)

    (reading,) = meter.unwritten()
    assert reading.total.calls == 2


def test_counters_that_are_idle_are_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spool.usage.meter.CLOSE_AFTER_SECS", -1.0)
    monkeypatch.setattr("spool.usage.meter.CLOSE_EVERY_SECS", -1.0)
    meter, here = Meter(), source()
    meter.add(here, ONE)
    (first,) = meter.unwritten()
    meter.written([first])

    meter.add(here, ONE)

    (second,) = meter.unwritten()
    assert second.id != first.id
    assert second.total.calls == 1


def test_threads_lose_no_call() -> None:
    meter, here, barrier = Meter(), source(), threading.Barrier(8)

    def use() -> None:
        barrier.wait()
        for _ in range(500):
            meter.add(here, ONE)

    threads = [threading.Thread(target=use) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    (reading,) = meter.unwritten()
    assert reading.total == Tokens(calls=4000, input=40_000, output=20_000)


@pytest.mark.parametrize(
    "reported",
    [
        None,
        "many",
        {},
        {"input_tokens": "7", "output_tokens": None},
        {"input_tokens": -5, "input_token_details": 7},
        {"input_tokens": True},
    ],
)
def test_odd_reports_count_as_a_call(reported: Any) -> None:
    assert tokens_of_call(reported) == Tokens(calls=1)


# --- Merging --------------------------------------------------------------------------
def total(day: date, **changes: Any) -> UsageTotal:
    given = {
        "owner": "alice",
        "assistant_id": "00000000-0000-0000-0000-000000000001",
        "graph_id": "chat",
        "model": "tiny-1",
        "calls": 1,
        "input": 10,
    }
    return UsageTotal.objects.create(day=day, **{**given, **changes})


@pytest.mark.django_db
def test_counters_of_past_days_become_one() -> None:
    today = timezone.now().date()
    past = today - timedelta(days=5)
    for _ in range(3):
        total(past)
        total(today)
    total(past, model="tiny-2")

    assert merge_counters() == 3
    assert merge_counters() == 0

    rows = UsageTotal.objects.filter(day=past).values_list("model", "calls", "input")
    assert sorted(rows) == [("tiny-1", 3, 30), ("tiny-2", 1, 10)]
    assert UsageTotal.objects.filter(day=today).count() == 3


@pytest.mark.django_db(transaction=True)
def test_two_sweeps_at_once_count_nothing_twice() -> None:
    past = timezone.now().date() - timedelta(days=5)
    for _ in range(50):
        total(past)
    barrier = threading.Barrier(4)

    def merge() -> None:
        barrier.wait()
        merge_counters()
        connection.close()

    threads = [threading.Thread(target=merge) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    merge_counters()

    assert written() == [(50, 500, 0)]
