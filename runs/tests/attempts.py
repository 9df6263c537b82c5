"""Create rows of ended attempts, and count them."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

from django.utils import timezone

from spool.runs import counting
from spool.runs.models import RunAttempt
from spool.runs.periods import Counting

SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)


def ago(span: timedelta) -> datetime:
    return timezone.now() - span


def ended(
    at: datetime, outcome: str = "success", *, is_saved: bool = True, **given: Any
) -> RunAttempt:
    """Create the attempt of a run that waited for 2 s, took 3 s, and ended at `at`."""
    row = {
        "run_id": uuid4(),
        "attempt": 1,
        "thread_id": uuid4(),
        "assistant_id": uuid4(),
        "owner": "alice",
        "graph_id": "echo",
        "run_class": "background",
        "revision": "r1",
        "queued_at": at - 5 * SECOND,
        "started_at": at - 3 * SECOND,
        "ended_at": at,
        "outcome": outcome,
        "steps": 2,
        "tokens": {},
    }
    attempt = RunAttempt(**row | given)
    if is_saved:
        attempt.save(force_insert=True)
    return attempt


def count_now() -> None:
    """Count as if the last pass had been some time ago."""
    Counting.objects.update(counted_at=ago(MINUTE))
    counting.count()
