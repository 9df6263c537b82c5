"""The Celery application. `spool worker` and `spool beat` start its programs.

`celery -A spool.config inspect` and `control` find it by themselves.
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

# Whatever a Django site beside us exports.
os.environ["DJANGO_SETTINGS_MODULE"] = "spool.config.settings"
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


# Celery's Django fixup would put the working directory before all libraries.
_import_path = list(sys.path)
app = Celery("spool", amqp=Broker)
sys.path[:] = _import_path
app.config_from_object("django.conf:settings", namespace="CELERY")
# Celery's Django fixup would reconnect to Postgres for each task. It reads this name.
app.conf.CELERY_DB_REUSE_MAX = 10**9


@setup_logging.connect
def _leave_logging_alone(**_: Any) -> None:
    """Django has set it up. Celery would have workers log warnings only."""


@celeryd_init.connect
def _load_tasks(**_: Any) -> None:
    if not Hook.are_filled:
        stop("this starts no worker: use `spool worker`")
    # In workers alone: beat sends names, and stays small without graphs.
    app.autodiscover_tasks(force=True)
