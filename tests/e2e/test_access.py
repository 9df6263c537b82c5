"""What a server logs, and which settings it refuses, when it starts."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from spool.tests.live import ROOT, WAIT_SECS, Server, UsersServer, new_key, serving

pytestmark = pytest.mark.e2e

AGENTS = ROOT / "tests" / "graphs" / "agents.py"


def test_open_to_the_network_is_refused_in_one_line() -> None:
    server = UsersServer(
        ROOT / "examples" / "langgraph.json",
        HOST="0.0.0.0",  # noqa: S104
    )

    with pytest.raises(RuntimeError, match="authentication"):
        server.start()

    lines = server.output().strip().splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("spool: HOST=0.0.0.0")
    server.stop()


def test_open_to_this_machine_is_said_aloud(server: Server) -> None:
    assert "AUTHENTICATION IS OFF" in server.output()


def test_moved_routes_and_none_about_the_server(tmp_path: Path) -> None:
    config = tmp_path / "langgraph.json"
    http = {"mount_prefix": "/agents", "disable_meta": True}
    graphs = {"echo": f"{os.path.relpath(AGENTS, tmp_path)}:echo"}
    config.write_text(json.dumps({"graphs": graphs, "http": http}))

    with serving(config, SPOOL_AUTH="api_key") as server:
        assert (
            httpx.get(f"{server.url}/agents/info", timeout=WAIT_SECS).status_code == 404
        )
        assert (
            httpx.post(
                f"{server.url}/agents/threads", json={}, timeout=WAIT_SECS
            ).status_code
            == 401
        )
        assert (
            httpx.post(f"{server.url}/threads", json={}, timeout=WAIT_SECS).status_code
            == 404
        )


@pytest.fixture
def with_keys() -> Iterator[Server]:
    with serving(
        ROOT / "examples" / "langgraph.json", SPOOL_AUTH="api_key", LOG_JSON="true"
    ) as server:
        yield server


def test_logs_are_lines_of_json_that_tell_no_secret(with_keys: Server) -> None:
    server = with_keys
    key = new_key(server, "alice")
    headers = {"x-api-key": key, "x-request-id": "the-request"}

    with httpx.Client(base_url=server.url, headers=headers, timeout=30) as client:
        body = {"assistant_id": "failing", "input": {}}
        run = client.post("/runs", json={**body, "on_completion": "keep"}).json()
        path = f"/threads/{run['thread_id']}/runs/{run['run_id']}"
        client.get(f"{path}/join")
        client.get("/threads/nonsense", params={"token": key})
    _send(server, b"GET / HTTP/9\r\n\r\n")

    logs = {name: _log(server, name) for name in ("web", "worker", "beat")}
    lines = {
        name: [json.loads(line) for line in text.splitlines() if line.strip()]
        for name, text in logs.items()
    }
    [failed] = [line for line in lines["worker"] if line["level"] == "ERROR"]
    password = server.output().partition("password ")[2].split()[0]
    assert failed["request_id"] == "the-request"
    assert (failed["run_id"], failed["owner"]) == (run["run_id"], "alice")
    assert failed["thread_id"] == run["thread_id"]
    assert "Invalid HTTP" in logs["web"]
    for secret in (key, password):
        assert secret not in "".join(logs.values()) + _log(server, "prepare")


def _send(server: Server, request: bytes) -> None:
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.sendall(request)
        connection.recv(1024)


def _log(server: Server, name: str) -> str:
    return (server.home / "logs" / f"{name}.log").read_text()
