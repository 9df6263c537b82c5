"""`spool worker`: one worker process, Celery's with the threads pool."""

from __future__ import annotations

import argparse
import os
from typing import Any, NoReturn

import django
from celery.signals import worker_ready

django.setup()

from spool import hooks  # noqa: E402
from spool.assistants.graphs import registry  # noqa: E402
from spool.config.celery import app  # noqa: E402

# Workers don't talk to each other: their shared state is in Postgres.
QUIET = ("--without-gossip", "--without-mingle", "--without-heartbeat")


def main(given: argparse.Namespace) -> NoReturn:
    hooks.fill()
    if given.ready_fd is not None:

        @worker_ready.connect(weak=False)
        def _say_so(**_: Any) -> None:
            registry()  # Load the graphs before reporting ready.
            os.write(given.ready_fd, b"ready")

    app.start(["-q", "worker", "-P", "threads", *QUIET, "-n", f"{given.name}@%h"])
