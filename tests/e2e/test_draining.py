"""A worker that stops, and its successor, which leaves no gap."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from spool.tests.company import ENVIRONMENT, Company, has_begun, hold
from spool.tests.conftest import CONFIG
from spool.tests.live import Server, serving, wait_until

pytestmark = pytest.mark.e2e

# Longer than a draining worker needs for its run.
LONG = {**ENVIRONMENT, "BG_JOB_SHUTDOWN_GRACE_PERIOD_SECS": "300"}


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with serving(CONFIG, workers=1, **LONG) as server:
        yield server


@pytest.fixture
def company(server: Server) -> Iterator[Company]:
    company = Company(server)
    yield company
    company.dismiss()


def test_runs_start_on_the_successor_while_a_worker_drains(
    company: Company, file: Path
) -> None:
    # Stop the tick, which would replace a message that the old worker takes.
    company.server.beat().suspend()
    let_go = hold(file, "1")
    long = company.steps(file)
    wait_until(lambda: has_begun(file, "1"))
    worker = company.server.worker()

    worker.send_signal(signal.SIGTERM)
    short = company.steps(file.with_name("other"))

    assert short.ended() == "success"
    assert long.status() == "running"
    assert worker.is_running()
    company.server.beat().resume()
    let_go()
    assert long.ended() == "success"
    assert company.attempts(long) == (1, 0)
