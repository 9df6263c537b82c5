"""The official A2A client for JavaScript, against the live server."""

from __future__ import annotations

from pathlib import Path

from spool.tests.compat.javascript import NEEDS_NODE, run_tests
from spool.tests.live import Server

FOLDER = Path(__file__).parent / "a2a_js"

pytestmark = NEEDS_NODE


def test_the_javascript_client_of_agents(server: Server) -> None:
    run_tests(FOLDER, SPOOL_URL=server.url)
