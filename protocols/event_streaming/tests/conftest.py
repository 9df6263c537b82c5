from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from spool.access.tests.conftest import EXAMPLES, forget_config
from spool.assistants.services import register_system_assistants
from spool.assistants.tests.served import serving as serving_graphs
from spool.config.celery import app as celery_app
from spool.database.loop import Loop
from spool.runs.streaming.fanout import close_fanout
from spool.web.handler import Application
from spool.web.http_protocol import BoundedHead
from spool.web.mounting import mounted
from spool.web.tests.serving import Server, serving
from spool.web.websocket_protocol import LeanWebSocket


@pytest.fixture(scope="module", autouse=True)
def _examples() -> Iterator[None]:
    """A server with the example graphs."""
    with serving_graphs(EXAMPLES, forget_config):
        yield


@pytest.fixture
def web(transactional_db: None, settings: Any) -> Iterator[Server]:
    """uvicorn in this process; nothing executes what it starts."""
    settings.FORCE_SCRIPT_NAME, settings.STATIC_URL = None, "/static/"
    settings.STREAM_HEARTBEAT_SECS = 0.2
    celery_app.set_default()  # Runs are dispatched, but no worker executes them.
    register_system_assistants()
    application = mounted(lambda: Application(on_start=(), on_stop=(close_fanout,)))
    how: dict[str, Any] = {"http": BoundedHead, "ws": LeanWebSocket}
    with serving(application, lifespan="on", **how) as server:
        yield server


@pytest.fixture
def loop(web: Server) -> Iterator[Loop]:
    """An event loop for publishing events as a worker does."""
    loop = Loop(name="test", pool_size=2)
    yield loop
    loop.close()
