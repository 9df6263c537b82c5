from __future__ import annotations

import threading

from celery import shared_task

from spool.crons import firing

# How many ticks may run at once in one process. Under load, a tick takes longer than a
# second, and later ones must leave a thread for the recovery of runs.
TICKS = threading.Semaphore(3)


@shared_task(name="crons.tasks.tick")
def tick() -> None:
    """Fire due crons, and record the status of their runs. Called every second."""
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
