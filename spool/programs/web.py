"""`spool web`: one web process."""

from __future__ import annotations

import argparse

import django
import uvicorn
from django.conf import settings

django.setup()

# What follows needs Django's settings.
from spool import hooks  # noqa: E402
from spool.access.start import check_access  # noqa: E402
from spool.assistants.services import register_system_assistants  # noqa: E402
from spool.config.celery import app as celery_app  # noqa: E402
from spool.config.langgraph_json import warn_of_ignored_keys  # noqa: E402
from spool.config.lazy import close_loaded  # noqa: E402
from spool.runs.streaming.fanout import close_fanout  # noqa: E402
from spool.store.vectors import prepare_index  # noqa: E402
from spool.web.guards import App  # noqa: E402
from spool.web.handler import Application  # noqa: E402
from spool.web.http_protocol import BoundedHead  # noqa: E402
from spool.web.mounting import mounted, read_options  # noqa: E402

# Streams that go on are cut after so many seconds, when the process is told to stop.
SHUTDOWN_TIMEOUT_SECS = 2

# In this order: the first complaint is the cause.
ON_START = (
    check_access,
    read_options,
    warn_of_ignored_keys,
    prepare_index,
    # Loads the graphs, so that a broken one stops the start.
    register_system_assistants,
)

ON_STOP = (close_loaded, close_fanout)


def application() -> App:
    """The whole server: Django's part, and what `http` in langgraph.json puts around it."""
    hooks.fill()
    # Or tasks would be sent to Celery's default application, which has no broker.
    celery_app.set_default()
    return mounted(lambda: Application(on_start=ON_START, on_stop=ON_STOP))


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="spool web", description=__doc__)
    parser.add_argument("--host", default=settings.HOST, help="address (HOST)")
    parser.add_argument(
        "--port", type=int, default=settings.PORT, help="port, from 1 to 65535 (PORT)"
    )
    given = parser.parse_args(arguments)
    uvicorn.run(
        application(),
        host=given.host,
        port=given.port,
        http=BoundedHead,
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=SHUTDOWN_TIMEOUT_SECS,
    )
    return 0
