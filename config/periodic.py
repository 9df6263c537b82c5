"""Spool's own periodic tasks, in django-celery-beat's tables.

They are created where they are missing and otherwise left as operators have made them.
"""

from __future__ import annotations

from dataclasses import dataclass

from django_celery_beat.models import IntervalSchedule, PeriodicTask


@dataclass(frozen=True)
class Periodic:
    name: str
    task: str
    seconds: int
    # A message that waits for longer than this is dropped: the next one does its work.
    expires: int


TASKS = (Periodic("Runs: recover and wake", "runs.tasks.tick", seconds=1, expires=5),)


def ensure_periodic_tasks() -> None:
    """Any number of processes may call this at once."""
    for periodic in TASKS:
        every, _ = IntervalSchedule.objects.get_or_create(
            every=periodic.seconds, period=IntervalSchedule.SECONDS
        )
        PeriodicTask.objects.get_or_create(
            name=periodic.name,
            defaults={
                "task": periodic.task,
                "interval": every,
                "expire_seconds": periodic.expires,
            },
        )
