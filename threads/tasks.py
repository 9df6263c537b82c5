from __future__ import annotations

from celery import shared_task

from spool.threads import sweeping


@shared_task(name="threads.tasks.sweep")
def sweep() -> None:
    """Remove expired and discarded threads. Called every few minutes."""
    sweeping.sweep()
