from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from spool.tests import commands
from spool.tests.forking import ForkServer
from spool.tests.live import Server

CONFIG = Path(__file__).parent / "graphs" / "langgraph.json"


@pytest.fixture(scope="session", autouse=True)
def _fork_server() -> Iterator[None]:
    commands.fork_server = ForkServer()
    yield
    commands.fork_server.close()
    commands.fork_server = None


@pytest.fixture(scope="session")
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    """One server for all tests that need a whole one; crash tests start their own."""
    server = Server(CONFIG, STREAM_HEARTBEAT_SECS="1")
    server.start()
    yield server
    if request.session.testsfailed:
        sys.stderr.write(f"\nThe server's logs are kept in {server.home}\n")
    server.stop(keep_home=bool(request.session.testsfailed))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """The file in which graphs note the steps that they begin."""
    return tmp_path / "begun"
