"""Charts read rows of periods, the latest minutes included."""

from __future__ import annotations

from datetime import timedelta
from itertools import pairwise
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from spool.runs import counting, figures
from spool.runs.figures import Histogram, Range
from spool.runs.models import Run
from spool.runs.periods import (
    BUCKETS,
    Counting,
    QueueMinute,
    RunPeriod,
    Span,
    TableHour,
)
from spool.runs.tests.attempts import HOUR, MINUTE, SECOND, ago, count_now, ended

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _begun(transactional_db: None) -> None:
    counting.count()


def count_since(span: timedelta) -> None:
    Counting.objects.update(closed_until=ago(span), counted_at=ago(span))
    for _ in range(6):
        counting.count()  # It does not wait while it is behind.


@pytest.mark.parametrize("within", Range)
def test_a_range_shows_closed_and_open_minutes_once(within: Range) -> None:
    for back in (SECOND, 4 * MINUTE, 7 * MINUTE, 12 * MINUTE):
        ended(ago(back))
    ended(ago(30 * MINUTE), "error")
    count_since(HOUR)

    points = figures.over_time(within)

    assert sum(p.outcomes.success for p in points) == 4
    assert sum(p.outcomes.error for p in points) == (within != Range.QUARTER)
    assert len(points) == within.length / within.step
    assert {b.start - a.start for a, b in pairwise(points)} == {within.step}
    # One second ago may be in the previous minute.
    assert any(point.outcomes.success for point in points[-2:])


def test_graphs_show_delays_and_durations() -> None:
    for _ in range(3):
        ended(ago(SECOND))
    ended(ago(SECOND), graph_id="other")
    count_now()

    first, second = figures.by_graph(Range.HOUR)

    assert (first.graph_id, second.graph_id) == ("echo", "other")
    assert first.outcomes.ended == first.delay.count == 3
    assert 1 < (first.delay.quantile(0.5) or 0) <= 2.5
    assert 2.5 < (first.duration.quantile(0.95) or 0) <= 5
    assert [
        p.outcomes.success for p in figures.over_time(Range.HOUR, graph_id="other")
    ][-2:] in ([0, 1], [1, 0])


def test_a_bad_revision_shows_at_once() -> None:
    for outcome in ("success", "success", "error"):
        ended(ago(2 * MINUTE), outcome, revision="good")
    for outcome in ("success", "error", "timeout", "error"):
        ended(ago(SECOND), outcome, revision="bad", error={"error": "KeyError"})
    count_since(HOUR)

    newest, before = figures.by_revision(Range.HOUR)

    assert (newest.revision, newest.outcomes.failed) == ("bad", 3)
    assert newest.outcomes.error_rate == 0.75
    assert (before.revision, before.outcomes.failed) == ("good", 1)
    found = figures.failures(Range.DAY)
    assert [(f.revision, f.error, f.count) for f in found] == [
        ("bad", "KeyError", 3),
        ("good", "", 1),
    ]


def test_classes_show_apart() -> None:
    ended(ago(SECOND), run_class="cron")
    ended(ago(SECOND), run_class="interactive")
    count_now()

    found = {each.run_class for each in figures.by_class(Range.DAY)}

    assert found == {"cron", "interactive"}


def test_counters_stay_when_a_minute_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    ended(ago(4 * MINUTE))
    count_since(HOUR)
    assert not RunPeriod.objects.filter(span=Span.EVER).exists()
    assert [each.outcomes.success for each in figures.ever_by_class()] == [1]

    monkeypatch.setattr(counting, "CLOSE_AFTER", 2 * MINUTE)
    count_now()

    assert RunPeriod.objects.filter(span=Span.EVER).exists()
    assert [each.outcomes.success for each in figures.ever_by_class()] == [1]


def test_counters_are_bounded() -> None:
    for number in range(10):
        ended(ago((1 + number) * MINUTE), revision=f"r{number}")
    count_since(HOUR)

    found = figures.ever_by_revision()

    assert {each.revision for each in found} == {"r0", "r1", "r2"}


def test_the_queue_shows_its_worst_minute(run: Run) -> None:
    QueueMinute.objects.all().delete()
    start = ago(HOUR).replace(minute=0, second=0, microsecond=0)
    for minute, waiting in enumerate((1, 9, 2)):
        QueueMinute.objects.create(
            start=start + minute * MINUTE,
            run_class="cron",
            waiting=waiting,
            oldest_secs=waiting * 10,
        )

    [point] = figures.queue_over_time(Range.DAY)

    assert (point.start, point.waiting, point.oldest_secs) == (start, 9, 90)
    now = figures.queue_now()
    assert now["background"].waiting == 1
    assert now["background"].oldest_secs > 0
    assert (now["cron"].waiting, now["interactive"].running) == (0, 0)


def test_tables_show_their_growth() -> None:
    hour = ago(timedelta()).replace(minute=0, second=0, microsecond=0)
    TableHour.objects.all().delete()
    for back, size in ((0, 900), (1, 700), (30, 100)):
        TableHour.objects.create(start=hour - back * HOUR, name="runs", bytes=size)

    assert [t.growth for t in figures.table_sizes(Range.HOUR)] == [200]
    assert [t.growth for t in figures.table_sizes(Range.WEEK)] == [800]


@pytest.mark.parametrize(
    ("part", "expected"), [(0.0, 0.25), (0.5, 0.5), (0.75, 0.75), (1.0, 1.0)]
)
def test_a_quantile_lies_within_its_bucket(part: float, expected: float) -> None:
    counts = [0] * (len(BUCKETS) + 1)
    counts[BUCKETS.index(0.5)] = 2
    counts[BUCKETS.index(1)] = 2

    assert Histogram(tuple(counts), 3.0).quantile(part) == expected


def test_a_quantile_above_all_bounds_is_the_last_bound() -> None:
    assert Histogram((*[0] * len(BUCKETS), 5), 90_000.0).quantile(0.5) == 7200
    assert Histogram((0,) * (len(BUCKETS) + 1), 0.0).quantile(0.5) is None


@pytest.mark.parametrize(
    "read",
    [
        lambda: figures.over_time(Range.WEEK),
        lambda: figures.by_revision(Range.DAY),
        lambda: figures.failures(Range.WEEK),
        lambda: figures.queue_over_time(Range.WEEK),
        lambda: figures.table_sizes(Range.WEEK),
        figures.ever_by_class,
        figures.ever_by_revision,
    ],
)
def test_charts_read_no_big_table(read: Any) -> None:
    with CaptureQueriesContext(connection) as queries:
        read()

    assert 1 <= len(queries) <= 2
    words = {
        word
        for query in queries.captured_queries
        for word in query["sql"].replace("(", " ").replace(")", " ").split()
    }
    assert not {"runs", "run_attempts", "run_steps", "threads"} & words


def test_a_range_has_a_name() -> None:
    assert Range.named("24h") is Range.DAY
    assert Range.named("1y") is Range.HOUR
    assert {each.span for each in Range} == {Span.MINUTE, Span.QUARTER, Span.HOUR}
