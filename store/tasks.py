from __future__ import annotations

from celery import shared_task

from store.sweep import sweep_items


@shared_task
def sweep() -> None:
    sweep_items()
