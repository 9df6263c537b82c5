from __future__ import annotations

from celery import shared_task
from celery.signals import beat_init

from crons import firing
from crons.periodic import ensure_periodic_tasks


@shared_task
def tick() -> None:
    """Every second: fire the crons that are due, and note how their runs stand."""
    firing.fire_due()
    firing.record_results()


@shared_task
def sweep() -> None:
    firing.sweep_firings()


@beat_init.connect
def prepare_schedule(**_: object) -> None:
    ensure_periodic_tasks()
