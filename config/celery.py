"""The Celery application: `celery -A config worker` and `celery -A config beat`."""

import os

from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

app = Celery("spool")
app.config_from_object("django.conf:settings", namespace="CELERY")
# Celery's Django fixup would reconnect to Postgres for each task. It reads this name.
app.conf.CELERY_DB_REUSE_MAX = 10**9
app.autodiscover_tasks()
