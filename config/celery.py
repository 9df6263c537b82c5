"""The Celery application, which `spool worker` and `spool beat` start.

`celery -A spool.config inspect` and `control` find it too.
"""

import os
import sys
from typing import Any

from celery import Celery
from celery.app.amqp import AMQP
from celery.signals import celeryd_init, setup_logging
from kombu import Connection

from spool.config.env import stop
from spool.config.hook import Hook
from spool.telemetry import tasks as tasks  # Connects to signals.

# Override a value that another Django site on this machine exports.
os.environ["DJANGO_SETTINGS_MODULE"] = "spool.config.settings"
# `prepare` runs the checks. Celery would ignore their results, but load every route.
os.environ.setdefault("CELERY_SKIP_CHECKS", "true")


class EagerConnection(Connection):
    """A connection that retries every second while Redis is unavailable.

    Kombu's delays would grow to half a minute, and runs would wait as long.
    """

    def ensure_connection(self, *args: Any, **kwargs: Any) -> Any:
        often = {"interval_start": 1, "interval_step": 0, "interval_max": 1}
        return super().ensure_connection(*args, **(often | kwargs))


class Broker(AMQP):
    Connection = EagerConnection


# Celery's Django fixup puts the working directory before all libraries.
_import_path = list(sys.path)
app = Celery("spool", amqp=Broker)
sys.path[:] = _import_path
app.config_from_object("django.conf:settings", namespace="CELERY")
# Read by Celery's Django fixup, which would otherwise reconnect to Postgres for each
# task.
app.conf.CELERY_DB_REUSE_MAX = 10**9


@setup_logging.connect
def _leave_logging_alone(**_: Any) -> None:
    """Keep Django's logging. Celery's would make workers log warnings only."""


@celeryd_init.connect
def _load_tasks(**_: Any) -> None:
    if not Hook.are_filled:
        stop("this command does not start a worker: use `spool worker`")
    # Only in workers: beat sends tasks by name, and stays small without graphs.
    app.autodiscover_tasks(force=True)
