"""`spool beat`: sends the periodic tasks, whose rows operators may edit."""

from __future__ import annotations

import argparse
import signal
from typing import Any, NoReturn

import django
from celery.apps.beat import Beat
from celery.beat import Service
from celery.signals import beat_init

django.setup()

from spool.config.celery import app  # noqa: E402
from spool.periodic import ensure_periodic_tasks  # noqa: E402


@beat_init.connect
def _prepare_schedule(**_: Any) -> None:
    ensure_periodic_tasks()


class StoppableBeat(Beat):
    """Saves the schedule after the loop has ended, not in the handler of the signal.

    Celery saves it in the handler. If the signal arrives while the loop waits for
    Postgres, that handler waits for the connection's lock, and beat never stops.
    """

    def install_sync_handler(self, service: Service) -> None:
        numbers = (signal.SIGTERM, signal.SIGINT)

        def end(*_: object) -> NoReturn:
            for number in numbers:
                signal.signal(number, signal.SIG_IGN)
            # Python may ignore an exception that is raised at this point of the loop,
            # so stop the service, too.
            service.stop()
            raise SystemExit

        for number in numbers:
            signal.signal(number, end)


def main(given: argparse.Namespace) -> NoReturn:
    app.Beat = app.subclass_with_self(StoppableBeat)  # type: ignore[misc]  # It is cached.
    app.start(["-q", "beat", "--pidfile=", "-l", "warning"])
