"""The official MCP clients for JavaScript, for 2026-07-28 and for earlier versions."""

from __future__ import annotations

from pathlib import Path

from spool.tests.compat.javascript import NEEDS_NODE, run_tests
from spool.tests.live import Server

FOLDER = Path(__file__).parent / "mcp_js"

pytestmark = NEEDS_NODE


def test_the_javascript_clients(server: Server) -> None:
    run_tests(FOLDER, SPOOL_URL=server.url)
