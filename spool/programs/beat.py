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
    """Saves the schedule after its loop has ended, and not in the signal's handler.

    Celery's own handler does. If the signal arrives while the loop waits for Postgres,
    the handler waits for the lock of the connection, and beat never stops.
    """

    def install_sync_handler(self, service: Service) -> None:
        numbers = (signal.SIGTERM, signal.SIGINT)

        def end(*_: object) -> NoReturn:
            for number in numbers:
                signal.signal(number, signal.SIG_IGN)
            # The loop ends even if it is interrupted where Python ignores exceptions.
            service.stop()
            raise SystemExit

        for number in numbers:
            signal.signal(number, end)


def main(given: argparse.Namespace) -> NoReturn:
    app.Beat = app.subclass_with_self(StoppableBeat)  # type: ignore[misc]  # It is cached.
    app.start(["-q", "beat", "--pidfile=", "-l", "warning"])
