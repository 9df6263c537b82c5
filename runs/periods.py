"""Models of figures over time, for charts and metrics; `runs.counting` writes them.

They hold no ids and no owners.
"""

from __future__ import annotations

from typing import Any

from django.contrib.postgres.fields import ArrayField
from django.db import models

# The upper bounds of the buckets of delays and durations, in seconds; one more bucket
# has no bound. Stored rows depend on them: changing them takes a migration of the rows.
BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 7200)


def _count() -> models.BigIntegerField[Any, Any]:
    return models.BigIntegerField(db_default=0)


class Span(models.TextChoices):
    """The length of a period. Charts choose the one that gives about 100 points."""

    MINUTE = "minute"
    QUARTER = "quarter"  # Of an hour.
    HOUR = "hour"
    # Since the server's first run, for counters that never decrease.
    EVER = "ever"


class RunPeriod(models.Model):
    """Attempts that ended in one period, by graph, class and revision.

    A period without attempts has no row. Rows of minutes that are not closed yet are
    counted again (see `runs.counting`); the other spans include closed minutes only.
    """

    # In the span `EVER`, revisions without an ended run for `counting.KEPT` are counted
    # together, as this revision.
    OLDER = "…"

    pk = models.CompositePrimaryKey(
        "span", "start", "graph_id", "run_class", "revision"
    )
    span = models.TextField(choices=Span.choices)
    start = models.DateTimeField()
    graph_id = models.TextField()
    run_class = models.TextField(blank=True)
    revision = models.TextField(blank=True)
    # The last minute with a run in it.
    last_at = models.DateTimeField()
    # How runs ended. The names are those of `RunAttempt.Outcome`.
    success = _count()
    error = _count()
    timeout = _count()
    interrupted = _count()
    rolled_back = _count()
    # Attempts after which the run was resumed.
    handed_back = _count()
    lost = _count()
    # How many runs are in each of `BUCKETS`, by the time from creation to the first
    # attempt, and from there to the end. Runs that ended while pending have neither.
    delays = ArrayField(models.BigIntegerField())
    delay_secs = models.FloatField(db_default=0)
    durations = ArrayField(models.BigIntegerField())
    duration_secs = models.FloatField(db_default=0)
    # The sums of all attempts; tokens are named as in `usage.tokens.Tokens`.
    steps = _count()
    calls = _count()
    input = _count()
    output = _count()
    cached = _count()
    cache_written = _count()
    reasoning = _count()

    class Meta:
        db_table = "run_periods"

    def __str__(self) -> str:
        return f"{self.graph_id} in the {self.span} of {self.start}"


class RunFailure(models.Model):
    """Runs that failed alike in one period: same exception, raised by the same node.

    Each period has a limited number of rows (`counting.MAX_FAILURES`). Further kinds
    of failures are counted together, with `OTHER` as their error.
    """

    OTHER = "…"

    pk = models.CompositePrimaryKey(
        "span", "start", "graph_id", "revision", "error", "node"
    )
    span = models.TextField(choices=Span.choices)
    start = models.DateTimeField()
    graph_id = models.TextField()
    revision = models.TextField(blank=True)
    # The type of the exception.
    error = models.TextField(blank=True)
    # The innermost node that raised it; empty if it was raised outside of nodes.
    node = models.TextField(blank=True)
    count = _count()
    last_at = models.DateTimeField()

    class Meta:
        db_table = "run_failures"

    def __str__(self) -> str:
        return f"{self.count} {self.error} in {self.node} of {self.graph_id}"


class QueueMinute(models.Model):
    """The active runs of a class, once a minute."""

    pk = models.CompositePrimaryKey("start", "run_class")
    start = models.DateTimeField()
    run_class = models.TextField(blank=True)
    # Pending runs that are due, and the age of the oldest whose turn it is: it waits
    # for a worker, not for another run of its thread.
    waiting = _count()
    oldest_secs = models.FloatField(db_default=0)
    running = _count()

    class Meta:
        db_table = "queue_minutes"

    def __str__(self) -> str:
        return f"{self.waiting} {self.run_class} runs wait at {self.start}"


class TableHour(models.Model):
    """The size of one of the largest tables, once an hour."""

    pk = models.CompositePrimaryKey("start", "name")
    start = models.DateTimeField()
    name = models.TextField()
    # Including its indexes.
    bytes = _count()
    # An estimate by Postgres; null before the table was analyzed.
    rows = models.BigIntegerField(null=True, blank=True)

    class Meta:
        db_table = "table_hours"

    def __str__(self) -> str:
        return f"{self.name} at {self.start}"


class Counting(models.Model):
    """The only row: how far attempts are counted. Its lock keeps writers apart."""

    id = models.SmallIntegerField(primary_key=True)
    # Minutes before this are closed: they are not counted again.
    closed_until = models.DateTimeField()
    counted_at = models.DateTimeField()
    # When a process exported the figures of the server over OpenTelemetry.
    exported_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        db_table = "run_counting"

    def __str__(self) -> str:
        return f"counted until {self.closed_until}"
