from __future__ import annotations

import threading

from celery import shared_task

from spool.crons import firing

# Ticks at once in one process. With much to fire they take longer than a second, and
# those that come meanwhile must leave a thread to the recovery of runs.
TICKS = threading.Semaphore(3)


@shared_task(name="crons.tasks.tick")
def tick() -> None:
    """Every second: fire the crons that are due, and note how their runs stand."""
    if not TICKS.acquire(blocking=False):
        return
    try:
        firing.fire_due()
        firing.record_results()
    finally:
        TICKS.release()


@shared_task(name="crons.tasks.sweep")
def sweep() -> None:
    firing.sweep_firings()
