"""The tasks that beat sends, as rows of django-celery-beat that operators may edit."""

from __future__ import annotations

from datetime import timedelta

from django.conf import settings
from django.db import connection, transaction
from django_celery_beat.models import IntervalSchedule, PeriodicTask

from spool.store.ttl import sweep_interval
from spool.threads.ttl import ttl_config

SECOND = timedelta(seconds=1)
SWEEP = timedelta(minutes=5)

# Name, task, how often, and what it is for.
TASKS = (
    ("crons: tick", "crons.tasks.tick", SECOND, "Fires the crons that are due."),
    ("runs: tick", "runs.tasks.tick", SECOND, "Recovers lost runs, wakes late ones."),
    ("runs: sweep", "runs.tasks.sweep", SWEEP, "Forgets old webhooks and workers."),
    ("threads: sweep", "threads.tasks.sweep", SWEEP, "Removes expired threads."),
    ("crons: sweep", "crons.tasks.sweep", SWEEP, "Deletes old records of firings."),
    (
        "store: sweep",
        "store.tasks.sweep",
        SWEEP,
        "Deletes store items that have expired.",
    ),
)
# A message that waited this long is dropped, so that a worker which was away doesn't
# find hours of ticks. Generous, since it is judged by the clocks of two machines.
EXPIRE_SECONDS = 60
# Any number that nobody else locks.
LOCK = 7_310_579_628


@transaction.atomic
def ensure_periodic_tasks() -> None:
    """Create the tasks that are missing; those that are there stay as they are."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [LOCK])
    # By the task, not by the name: an operator may rename a row.
    known = set(PeriodicTask.objects.values_list("task", flat=True))
    taken = set(PeriodicTask.objects.values_list("name", flat=True))
    for name, task, every, description in TASKS:
        if task not in known:
            PeriodicTask.objects.create(
                # Or let a row do something else.
                name=task if name in taken else name,
                task=task,
                interval=_interval(every),
                # Beat of the version before would send it to its own queue.
                queue=None
                if task in settings.FIRST_TASKS
                else settings.NEW_TASKS_QUEUE,
                expire_seconds=EXPIRE_SECONDS,
                description=description,
            )
    _follow_configuration()


def _follow_configuration() -> None:
    """Where langgraph.json says how often a sweep comes, it has the last word."""
    configured = {
        "threads.tasks.sweep": ttl_config().sweep_interval,
        "store.tasks.sweep": sweep_interval(),
    }
    for task, every in configured.items():
        if every is None:
            continue
        interval = _interval(max(every, SECOND))
        rows = PeriodicTask.objects.filter(task=task).exclude(interval=interval)
        for row in rows:
            row.interval = interval
            # One that has two schedules can't be saved.
            row.crontab = row.solar = row.clocked = None
            row.save()  # Which tells beat of it, as `update` would not.


def _interval(every: timedelta) -> IntervalSchedule:
    # Nothing makes these rows unique, so `get_or_create` would fail on a duplicate.
    wanted = {
        "every": max(int(every.total_seconds()), 1),
        "period": IntervalSchedule.SECONDS,
    }
    found = IntervalSchedule.objects.filter(**wanted).first()
    return found or IntervalSchedule.objects.create(**wanted)
