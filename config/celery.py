"""The Celery application: `celery -A config worker` and `celery -A config beat`."""

import os
from typing import Any

from celery import Celery
from celery.app.amqp import AMQP
from celery.signals import beat_init, celeryd_init, setup_logging
from django.utils.module_loading import import_string
from kombu import Connection

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
# `prepare` has checked. Celery would ignore what checks say, but load every route first.
os.environ.setdefault("CELERY_SKIP_CHECKS", "true")


class EagerConnection(Connection):
    """Looks for a Redis that went away every second.

    Kombu would look ever more seldom, up to every half minute, and runs wait as long.
    """

    def ensure_connection(self, *args: Any, **kwargs: Any) -> Any:
        often = {"interval_start": 1, "interval_step": 0, "interval_max": 1}
        return super().ensure_connection(*args, **(often | kwargs))


class Broker(AMQP):
    Connection = EagerConnection


app = Celery("spool", amqp=Broker)
app.config_from_object("django.conf:settings", namespace="CELERY")
# Celery's Django fixup would reconnect to Postgres for each task. It reads this name.
app.conf.CELERY_DB_REUSE_MAX = 10**9


@setup_logging.connect
def _leave_logging_alone(**_: Any) -> None:
    """Django has set it up. Celery would have workers log warnings only."""


@celeryd_init.connect
def _load_tasks(**_: Any) -> None:
    # In workers alone: beat sends names, and stays small without graphs.
    app.autodiscover_tasks(force=True)


@beat_init.connect
def _prepare_schedule(**_: Any) -> None:
    import_string("crons.periodic.ensure_periodic_tasks")()
