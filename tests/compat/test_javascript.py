"""The official JavaScript client against the live server, by node's own test runner."""

from __future__ import annotations

from pathlib import Path

from spool.tests.compat.javascript import NEEDS_NODE, run_tests
from spool.tests.live import Server

FOLDER = Path(__file__).parent / "js"

pytestmark = NEEDS_NODE


def test_the_javascript_client(server: Server) -> None:
    # Node 20 only has a WebSocket with this option.
    run_tests(FOLDER, SPOOL_URL=server.url, NODE_OPTIONS="--experimental-websocket")
