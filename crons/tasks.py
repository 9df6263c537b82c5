from __future__ import annotations

from celery import shared_task

from crons import firing


@shared_task
def tick() -> None:
    """Every second: fire the crons that are due, and note how their runs stand."""
    firing.fire_due()
    firing.record_results()


@shared_task
def sweep() -> None:
    firing.sweep_firings()
