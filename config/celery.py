"""The Celery application: `celery -A config worker` and `celery -A config beat`."""

import os
from typing import Any

from celery import Celery
from celery.signals import setup_logging

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

app = Celery("spool")
app.config_from_object("django.conf:settings", namespace="CELERY")
# Celery's Django fixup would reconnect to Postgres for each task. It reads this name.
app.conf.CELERY_DB_REUSE_MAX = 10**9
app.autodiscover_tasks()


@setup_logging.connect
def _leave_logging_alone(**_: Any) -> None:
    """Django has set it up. Celery would have workers log warnings only."""
