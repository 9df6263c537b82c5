"""Web and worker give memory back after a burst of large bodies, runs and events."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from spool.tests.conftest import CONFIG
from spool.tests.live import Server, UsersServer, running, wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.long]

# 10 MB as JSON, in ten thousand objects.
LARGE: dict[str, Any] = {"messages": [{"role": "user", "content": "x" * 1000}] * 10_000}
SMALL: dict[str, Any] = {"messages": []}
BURST = 20
# At the peak they use several hundred MB more, and afterwards at most this much more.
KEPT_MB = 150
# Freed memory is returned within a minute, see `spool.programs.memory`.
RETURN_SECS = 90


@pytest.fixture
def server() -> Iterator[Server]:
    with running(UsersServer(CONFIG)) as server:
        yield server


@pytest.fixture
def http(server: Server) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=120) as http:
        yield http


def size_mb(process: psutil.Process) -> float:
    return float(process.memory_full_info().uss / 2**20)


def peak_mb(process: psutil.Process) -> float:
    """The largest resident size that the process ever had, in MB."""
    [line] = [
        line
        for line in Path(f"/proc/{process.pid}/status").read_text().splitlines()
        if line.startswith("VmHWM:")
    ]
    return int(line.split()[1]) / 1024


def test_memory_comes_back_after_a_burst(server: Server, http: httpx.Client) -> None:
    processes = {"web": server.web(), "worker": server.worker()}

    def run(messages: dict[str, Any]) -> int:
        body = {"assistant_id": "echo", "input": messages}
        return http.post("/runs/wait", json=body).status_code

    def sizes() -> dict[str, float]:
        return {name: size_mb(process) for name, process in processes.items()}

    for _ in range(20):
        run(SMALL)
    before, peak_before = sizes(), max(map(peak_mb, processes.values()))
    with ThreadPoolExecutor(10) as pool:
        answers = set(pool.map(run, [LARGE] * BURST))

    def is_back() -> bool:
        return all(size < before[name] + KEPT_MB for name, size in sizes().items())

    assert answers == {200}
    # The burst did use much memory: otherwise the test would prove nothing.
    assert max(map(peak_mb, processes.values())) > peak_before + 2 * KEPT_MB
    wait_until(is_back, RETURN_SECS, pause=1)
