from __future__ import annotations

from celery import shared_task

from spool.store.sweep import sweep_items


@shared_task(name="store.tasks.sweep")
def sweep() -> None:
    sweep_items()
