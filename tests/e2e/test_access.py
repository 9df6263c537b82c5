"""What a server says and refuses when it starts."""

from __future__ import annotations

import json
import os
from pathlib import Path

import httpx
import pytest

from tests.live import ROOT, Server

pytestmark = pytest.mark.e2e

AGENTS = ROOT / "tests" / "graphs" / "agents.py"


def test_open_to_the_network_is_refused_in_one_line() -> None:
    server = Server(ROOT / "langgraph.json", HOST="0.0.0.0")  # noqa: S104

    with pytest.raises(RuntimeError, match="nobody has to log in"):
        server.start()

    lines = server.output().strip().splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("spool: HOST=0.0.0.0")
    server.stop()


def test_open_to_this_machine_is_said_aloud(server: Server) -> None:
    assert "NOBODY HAS TO LOG IN" in server.output()


def test_moved_routes_and_none_about_the_server(tmp_path: Path) -> None:
    config = tmp_path / "langgraph.json"
    http = {"mount_prefix": "/agents", "disable_meta": True}
    graphs = {"echo": f"{os.path.relpath(AGENTS, tmp_path)}:echo"}
    config.write_text(json.dumps({"graphs": graphs, "http": http}))
    server = Server(config, SPOOL_AUTH="api_key")

    server.start()

    assert httpx.get(f"{server.url}/agents/info").status_code == 404
    assert httpx.post(f"{server.url}/agents/threads", json={}).status_code == 401
    assert httpx.post(f"{server.url}/threads", json={}).status_code == 404
    server.stop()
