"""`spool web`: one web process."""

from __future__ import annotations

import argparse
import asyncio
import math
import os
import socket
import sys
import time

import django
import uvicorn
from django.conf import settings
from uvicorn.lifespan.off import LifespanOff

django.setup()

# The following imports need Django's settings.
from spool import hooks  # noqa: E402
from spool.access.start import check_access  # noqa: E402
from spool.assistants.graphs import warn_of_replaced_parts  # noqa: E402
from spool.assistants.services import register_system_assistants  # noqa: E402
from spool.config.celery import app as celery_app  # noqa: E402
from spool.config.env import stop  # noqa: E402
from spool.config.langgraph_json import (  # noqa: E402
    langgraph_json,
    warn_of_ignored_keys,
)
from spool.config.lazy import close_loaded  # noqa: E402
from spool.programs import limits, memory  # noqa: E402
from spool.runs.counting import claim_export  # noqa: E402
from spool.runs.streaming.fanout import close_fanout  # noqa: E402
from spool.store.vectors import prepare_index  # noqa: E402
from spool.telemetry import logs, metric_export, traces  # noqa: E402
from spool.web import readiness  # noqa: E402
from spool.web.guards import App  # noqa: E402
from spool.web.handler import Application  # noqa: E402
from spool.web.http_protocol import BoundedHead  # noqa: E402
from spool.web.mounting import mounted, read_options  # noqa: E402
from spool.web.readiness import UntilStarted  # noqa: E402
from spool.web.websocket_protocol import LeanWebSocket  # noqa: E402

# When the process stops, open streams are closed after this many seconds.
SHUTDOWN_TIMEOUT_SECS = 2
# How often a stopping server checks for unfinished requests, in seconds.
DRAIN_INTERVAL = 0.05
# uvicorn's exit status for a failed start.
STARTUP_FAILURE = 3

# In this order, so that the first error is the cause.
ON_START = (
    check_access,
    read_options,
    warn_of_ignored_keys,
    prepare_index,
    # Loads the graphs, so that a broken one stops the start.
    register_system_assistants,
    warn_of_replaced_parts,
)


async def stop_exports() -> None:
    await asyncio.to_thread(metric_export.stop)
    await asyncio.to_thread(traces.stop)


ON_STOP = (close_loaded, close_fanout, stop_exports)


def start() -> None:
    try:
        for step in ON_START:
            step()
    except SystemExit as exc:
        # A separate line, which the supervisor prints.
        logs.complain(str(exc))
        raise


def application() -> App:
    """The whole server: Django's application, wrapped by `http` of langgraph.json."""
    hooks.fill()
    # Otherwise tasks would go to Celery's default application, which has no broker.
    celery_app.set_default()
    # langgraph.json may set variables.
    langgraph_json()
    metric_export.start("web", claim_export)
    # Before the operator's own routes and graphs are loaded.
    traces.start("web")
    served = mounted(lambda: Application(on_start=(start,), on_stop=ON_STOP))
    return UntilStarted(traces.traced(served))


class Server(uvicorn.Server):
    """Answers probes while it starts and while it stops.

    On an inherited socket it does not, since another process serves there meanwhile. If
    a pipe is given, it reports through the pipe that it accepts requests.
    """

    ready_fd: int | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        if sockets:
            await super().startup(sockets=sockets)
        else:
            await self._startup_in_sight()
        if self.ready_fd is not None and not self.should_exit:
            os.write(self.ready_fd, b"ready")

    async def _startup_in_sight(self) -> None:
        readiness.starting()
        lifespan, self.lifespan = self.lifespan, LifespanOff(self.config)
        await super().startup()
        self.lifespan = lifespan
        await lifespan.startup()
        if lifespan.should_exit:
            sys.exit(STARTUP_FAILURE)
        readiness.started()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        readiness.stopping()
        grace = self.config.timeout_graceful_shutdown
        if not sockets and grace:
            deadline = time.monotonic() + grace
            while self._has_requests and time.monotonic() < deadline:
                await asyncio.sleep(DRAIN_INTERVAL)
            left = max(deadline - time.monotonic(), 0)
            self.config.timeout_graceful_shutdown = math.ceil(left)
        await super().shutdown(sockets)

    @property
    def _has_requests(self) -> bool:
        return bool(self.server_state.tasks) and not self.force_exit


def main(given: argparse.Namespace) -> int:
    limits.raise_open_files()
    memory.bound()
    memory.collect_less()
    if given.host:
        settings.HOST = given.host
    grace = SHUTDOWN_TIMEOUT_SECS if given.grace is None else given.grace
    server = Server(
        uvicorn.Config(
            application(),
            host=settings.HOST,
            port=_port(given.port),
            http=BoundedHead,
            ws=LeanWebSocket,
            # Compression costs tens of KB per connection, and CPU time per event.
            ws_per_message_deflate=False,
            log_level="warning",
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=grace,
        )
    )
    server.ready_fd = given.ready_fd
    inherited = None if given.fd is None else [socket.socket(fileno=given.fd)]
    server.run(sockets=inherited)
    return 0 if server.started else STARTUP_FAILURE


def _port(text: str | None) -> int:
    if text is None:
        return int(settings.PORT)
    if not text.isdecimal() or not 1 <= int(text) <= 65535:
        stop(f"--port must be a number from 1 to 65535, not {text!r}")
    return int(text)
