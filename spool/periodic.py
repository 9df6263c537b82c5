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

# Name, task, interval, and description.
TASKS = (
    ("crons: tick", "crons.tasks.tick", SECOND, "Fires the crons that are due."),
    (
        "runs: tick",
        "runs.tasks.tick",
        SECOND,
        "Recovers lost runs, and wakes late ones.",
    ),
    ("runs: sweep", "runs.tasks.sweep", SWEEP, "Deletes old webhooks and workers."),
    ("threads: sweep", "threads.tasks.sweep", SWEEP, "Removes expired threads."),
    ("crons: sweep", "crons.tasks.sweep", SWEEP, "Deletes old records of firings."),
    (
        "store: sweep",
        "store.tasks.sweep",
        SWEEP,
        "Deletes store items that have expired.",
    ),
)
# Messages older than this are dropped, so that a worker doesn't get hours of ticks
# after an outage. The value is generous, since clocks of two machines are compared.
EXPIRE_SECONDS = 60
# An arbitrary number that is used for no other advisory lock.
LOCK = 7_310_579_628


@transaction.atomic
def ensure_periodic_tasks() -> None:
    """Create missing tasks; existing ones are not changed."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [LOCK])
    # By task, not by name: an operator may rename a row.
    known = set(PeriodicTask.objects.values_list("task", flat=True))
    taken = set(PeriodicTask.objects.values_list("name", flat=True))
    for name, task, every, description in TASKS:
        if task not in known:
            PeriodicTask.objects.create(
                # The operator may use the name for another task.
                name=task if name in taken else name,
                task=task,
                interval=_interval(every),
                # An older version's beat would send it to its own queue.
                queue=None
                if task in settings.FIRST_TASKS
                else settings.NEW_TASKS_QUEUE,
                expire_seconds=EXPIRE_SECONDS,
                description=description,
            )
    _follow_configuration()


def _follow_configuration() -> None:
    """Set the intervals of sweeps that langgraph.json has. They override the rows'."""
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
            # Only one schedule is allowed per row.
            row.crontab = row.solar = row.clocked = None
            row.save()  # Notifies beat, unlike `update`.


def _interval(every: timedelta) -> IntervalSchedule:
    # Intervals are not unique, so `get_or_create` would fail if there are duplicates.
    wanted = {
        "every": max(int(every.total_seconds()), 1),
        "period": IntervalSchedule.SECONDS,
    }
    found = IntervalSchedule.objects.filter(**wanted).first()
    return found or IntervalSchedule.objects.create(**wanted)
