from __future__ import annotations

from celery import shared_task

from threads import sweeping


@shared_task
def sweep() -> None:
    """Every few minutes: remove expired and discarded threads."""
    sweeping.sweep()
