"""`spool worker`: one worker process, which is a Celery worker with a thread pool."""

from __future__ import annotations

import argparse
import os
from contextlib import suppress
from typing import Any, NoReturn

import django
from celery.apps import worker as celery_worker
from celery.signals import worker_ready, worker_shutdown, worker_shutting_down
from django.conf import settings

django.setup()

from spool import hooks  # noqa: E402
from spool.assistants.graphs import registry  # noqa: E402
from spool.config.celery import app  # noqa: E402
from spool.config.langgraph_json import langgraph_json  # noqa: E402
from spool.programs import memory  # noqa: E402
from spool.runs.counting import claim_export  # noqa: E402
from spool.telemetry import logs, metric_export, metrics, traces  # noqa: E402

# Workers don't talk to each other: their shared state is in Postgres.
QUIET = ("--without-gossip", "--without-mingle", "--without-heartbeat")


def _complain(text: str, *_: Any) -> None:
    logs.complain(text.strip())


def main(given: argparse.Namespace) -> NoReturn:
    memory.bound()
    memory.collect_less()
    hooks.fill()
    langgraph_json()  # May set variables.
    metric_export.start("worker", claim_export)
    worker_shutdown.connect(lambda **_: metric_export.stop(), weak=False)
    if settings.METRICS_PORT:
        metrics.serve(settings.HOST, settings.METRICS_PORT)
    traces.start("worker")
    if given.ready_fd is not None:

        @worker_ready.connect(weak=False)
        def _say_so(**_: Any) -> None:
            os.write(given.ready_fd, b"ready")

    if given.stopping_fd is not None:

        @worker_shutting_down.connect(weak=False)
        def _say_that_it_stops(**_: Any) -> None:
            with suppress(OSError):  # The supervisor is gone, or knows it already.
                os.write(given.stopping_fd, b"stopping")

    if logs.is_json():
        # Celery prints messages when it stops, which must be JSON, too.
        celery_worker.safe_say = _complain  # type: ignore[attr-defined]
    # Load graphs before Celery starts: it would treat an error that ends the process as
    # a normal stop, and hide the reason.
    registry()
    app.start(["-q", "worker", "-P", "threads", *QUIET, "-n", f"{given.name}@%h"])
