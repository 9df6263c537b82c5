"""Probes of a web process that starts, stops, or can't reach Postgres."""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from spool.tests.commands import run_program, start_program
from spool.tests.company import Company
from spool.tests.conftest import CONFIG
from spool.tests.e2e.test_outages import refusing
from spool.tests.live import WAIT_SECS, Server, free_port, serving, wait_until

pytestmark = pytest.mark.e2e

CODE = """
import time
from pathlib import Path

from langgraph.graph import START, StateGraph

while not Path(__file__).with_name("go").exists():
    time.sleep(0.05)
graph = StateGraph(dict).add_node("a", lambda state: {}).add_edge(START, "a").compile()
"""
STOPPING = ["it is stopping, and finishes its streams"]


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """A server without workers, so that each run waits, and its stream stays open."""
    with serving(CONFIG, workers=0) as server:
        yield server


@contextmanager
def web(server: Server, config: Path, *options: str) -> Iterator[tuple[Any, str]]:
    """A separate web process, and its URL."""
    port = str(free_port())
    process = start_program(
        *("web", "--port", port, *options),
        environment={**server.environment(), "LANGGRAPH_CONFIG": str(config)},
        output=server.home / "logs" / "another-web.log",
    )
    try:
        yield process, f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait(WAIT_SECS)


def get(url: str) -> tuple[int, Any]:
    """The status and body of a response; the status is 0 if there is no response."""
    try:
        response = httpx.get(url, timeout=WAIT_SECS)
    except httpx.TransportError:
        return 0, None
    return response.status_code, response.json()


def health(server: Server, url: str) -> int:
    port = url.rpartition(":")[2]
    command = ("health", "web", "--port", port)
    return run_program(*command, environment=server.environment()).returncode


def test_a_process_that_starts_says_so(server: Server, tmp_path: Path) -> None:
    config = tmp_path / "langgraph.json"
    config.write_text(json.dumps({"graphs": {"slow": "./agent.py:graph"}}))
    (tmp_path / "agent.py").write_text(CODE)
    with web(server, config) as (_, url):
        wait_until(lambda: get(f"{url}/live")[0])

        assert get(f"{url}/live") == (200, {"live": True})
        assert get(f"{url}/ready") == (
            503,
            {"ready": False, "reasons": ["it is starting"]},
        )
        assert get(f"{url}/ok")[0] == 503
        assert (
            httpx.post(f"{url}/threads", json={}, timeout=WAIT_SECS).status_code == 503
        )
        assert health(server, url) == 1
        (tmp_path / "go").touch()
        wait_until(lambda: get(f"{url}/ready")[0] == 200)
        assert get(f"{url}/ready") == (200, {"ready": True, "reasons": []})
        assert (
            httpx.post(f"{url}/threads", json={}, timeout=WAIT_SECS).status_code == 200
        )
        assert health(server, url) == 0


@contextmanager
def streaming(url: str) -> Iterator[tuple[str, list[str]]]:
    """The stream of a waiting run: the path of its thread's runs, and its lines."""
    thread = httpx.post(f"{url}/threads", json={}, timeout=WAIT_SECS).json()[
        "thread_id"
    ]
    path = f"{url}/threads/{thread}/runs"
    body = {"assistant_id": "echo", "input": {}, "on_disconnect": "continue"}
    lines: list[str] = []
    opened = threading.Event()

    def follow() -> None:
        with httpx.stream(
            "POST", f"{path}/stream", json=body, timeout=WAIT_SECS
        ) as stream:
            opened.set()
            lines.extend(stream.iter_lines())
        lines.append("complete")

    following = threading.Thread(target=follow)
    following.start()
    opened.wait(WAIT_SECS)
    yield path, lines
    following.join(WAIT_SECS)


def test_a_process_that_stops_finishes_its_streams_and_says_so(server: Server) -> None:
    with web(server, CONFIG, "--grace", "60") as (process, url):
        wait_until(lambda: get(f"{url}/ready")[0] == 200)
        with streaming(url) as (path, lines):
            process.send_signal(signal.SIGTERM)
            wait_until(lambda: get(f"{url}/ready")[0] == 503)

            assert get(f"{url}/ready") == (503, {"ready": False, "reasons": STOPPING})
            assert get(f"{url}/live") == (200, {"live": True})
            assert process.poll() is None
            [run] = httpx.get(path, timeout=WAIT_SECS).json()
            httpx.post(
                f"{path}/{run['run_id']}/cancel", timeout=WAIT_SECS
            ).raise_for_status()
        process.wait(WAIT_SECS)
    assert lines[-1] == "complete"
    assert get(f"{url}/live") == (0, None)


def test_a_process_without_postgres_says_so(server: Server) -> None:
    with refusing(Company(server)):
        wait_until(lambda: get(f"{server.url}/ready")[0] == 503)
        status, body = get(f"{server.url}/ready")
        assert (status, body["reasons"]) == (503, ["Postgres is away"])
        assert get(f"{server.url}/live")[0] == 200
    wait_until(lambda: get(f"{server.url}/ready")[0] == 200)
