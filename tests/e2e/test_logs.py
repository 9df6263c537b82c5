"""The logs of a whole server with `LOG_JSON`, from its start to its end."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from spool.tests.company import ENVIRONMENT, has_begun, hold
from spool.tests.conftest import CONFIG
from spool.tests.live import WAIT_SECS, Server, UsersServer, wait_until

pytestmark = pytest.mark.e2e

# These servers write logs in their own formats.
OTHERS = ("postgres.log", "valkey.log")


@pytest.fixture
def server() -> Iterator[Server]:
    """A server that the test stops, whose logs are kept until its end."""
    server = UsersServer(CONFIG, 1, **{**ENVIRONMENT, "LOG_JSON": "true"})  # type: ignore[arg-type]
    server.start()
    yield server
    if server.home.exists():
        shutil.rmtree(server.home)


def lines_of(server: Server) -> list[dict[str, Any]]:
    logs = [log for log in (server.home / "logs").iterdir() if log.name not in OTHERS]
    found = []
    for log in [server.home / "output", *logs]:
        for line in log.read_text().splitlines():
            try:
                found.append({**json.loads(line), "log": log.name})
            except ValueError:
                raise AssertionError(f"{log.name}: {line!r} is no JSON") from None
    return found


def drive(server: Server, file: Path) -> str:
    """Execute runs of all outcomes. Return the id of one whose worker is killed."""
    with httpx.Client(base_url=server.url, timeout=WAIT_SECS) as http:
        for graph in ("echo", "raises"):
            http.post("/runs/wait", json={"assistant_id": graph, "input": {}})
        http.get("/no/such/page")
        thread = http.post("/threads", json={}).json()["thread_id"]
        body = {"assistant_id": "steps", "input": {"file": str(file), "delay": 0}}
        let_go = hold(file, "2")
        path = f"/threads/{thread}/runs"
        headers = {"x-request-id": "request-1"}
        made = http.post(path, json=body, headers=headers).json()
        wait_until(lambda: has_begun(file, "2"))
        server.worker().kill()
        let_go()
        run = f"{path}/{made['run_id']}"
        wait_until(lambda: http.get(run).json()["status"] == "success")
    return str(made["run_id"])


def test_every_line_is_json(server: Server, file: Path) -> None:
    run_id = drive(server, file)
    server.stop(keep_home=True)

    lines = lines_of(server)

    assert all({"time", "level", "logger", "message"} <= set(line) for line in lines)
    assert {line["log"] for line in lines} >= {"output", "web.log", "worker.log"}
    told = [line["message"] for line in lines if line["log"] == "output"]
    assert any("Spool is ready" in text for text in told)
    assert any("worker exited with status -9" in text for text in told)
    of_run = [line for line in lines if line.get("run_id") == run_id]
    texts = [line["message"] for line in of_run]
    starts = [text for text in texts if text.startswith("run started")]
    ends = [text for text in texts if text.startswith("run ended: success")]
    lost = [text for text in texts if "its worker is gone" in text]
    assert (len(starts), len(ends), len(lost)) == (2, 1, 1)
    assert "tokens" in ends[0]
    assert all(line["thread_id"] for line in of_run)
    of_request = [line for line in of_run if line.get("request_id") == "request-1"]
    assert len(of_request) >= 3
    assert any("exception" in line for line in lines)
