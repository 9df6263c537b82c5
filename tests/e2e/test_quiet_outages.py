"""The logs of a whole server while Postgres or Redis is unavailable under load."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from spool.tests.company import Company
from spool.tests.conftest import CONFIG
from spool.tests.e2e.test_outages import hanging, refusing
from spool.tests.live import WAIT_SECS, Server, serving

pytestmark = pytest.mark.e2e

AWAY_SECS = 8
MAX_LINES = 10
VIEWERS = 6


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with serving(CONFIG) as server:
        yield server


def logs(server: Server) -> list[Path]:
    """The logs of all of the server's processes, except Postgres and Valkey."""
    theirs = ("postgres", "valkey")
    found = (server.home / "logs").glob("*.log")
    ours = [log for log in found if not log.name.startswith(theirs)]
    return [server.home / "output", *ours]


def load(server: Server, stop: threading.Event) -> None:
    """Start one client after another, until the load is stopped."""
    with httpx.Client(base_url=server.url, timeout=WAIT_SECS) as http:
        while not stop.is_set():
            body = {"assistant_id": "echo", "input": {"messages": []}}
            with suppress(httpx.HTTPError):
                http.post("/runs/wait", json=body)


def suspend_redis(server: Server) -> None:
    [valkey] = server.servers("valkey")
    valkey.suspend()
    time.sleep(AWAY_SECS)
    valkey.resume()


def kill_redis(server: Server) -> None:
    supervisor = server.processes()[0]
    [valkey] = server.servers("valkey")
    supervisor.suspend()
    valkey.kill()
    time.sleep(AWAY_SECS)
    supervisor.resume()


def hang_postgres(server: Server) -> None:
    with hanging(Company(server)):
        time.sleep(AWAY_SECS)


def stop_postgres(server: Server) -> None:
    with refusing(Company(server)):
        time.sleep(AWAY_SECS)


@pytest.mark.parametrize(
    "outage",
    [
        suspend_redis,
        pytest.param(kill_redis, marks=pytest.mark.long),
        pytest.param(hang_postgres, marks=pytest.mark.long),
        stop_postgres,
    ],
)
def test_an_outage_under_load_is_a_few_lines(
    server: Server, outage: Callable[[Server], None]
) -> None:
    server.wait_until_ready()
    stop = threading.Event()
    with ThreadPoolExecutor(VIEWERS) as pool:
        for _ in range(VIEWERS):
            pool.submit(load, server, stop)
        time.sleep(2)
        before = {log: log.stat().st_size for log in logs(server)}
        try:
            outage(server)
            server.wait_until_ready()
            time.sleep(2)
        finally:
            stop.set()
    said = "".join(
        log.read_text(errors="replace")[before.get(log, 0) :] for log in logs(server)
    )
    lines = [line for line in said.splitlines() if " INFO " not in line]
    assert "Traceback" not in said
    # A Postgres that hangs for less than the timeouts is only slow.
    assert ("is back after" in said) is (outage is not hang_postgres)
    assert len(lines) <= MAX_LINES, "\n".join(lines)
