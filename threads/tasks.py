from __future__ import annotations

from celery import shared_task

from spool.threads import sweeping


@shared_task(name="threads.tasks.sweep")
def sweep() -> None:
    """Every few minutes: remove expired and discarded threads."""
    sweeping.sweep()
