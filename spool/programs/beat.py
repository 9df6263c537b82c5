"""`spool beat`: sends the periodic tasks, whose rows operators may edit."""

from __future__ import annotations

import argparse
from typing import Any, NoReturn

import django
from celery.signals import beat_init

django.setup()

from spool.config.celery import app  # noqa: E402
from spool.periodic import ensure_periodic_tasks  # noqa: E402


@beat_init.connect
def _prepare_schedule(**_: Any) -> None:
    ensure_periodic_tasks()


def main(given: argparse.Namespace) -> NoReturn:
    app.start(["-q", "beat", "--pidfile=", "-l", "warning"])
