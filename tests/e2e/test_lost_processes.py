"""Workers and web processes that die, with leases that are too long to wait for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from spool.tests.company import ENVIRONMENT, Company, has_begun, hold
from spool.tests.conftest import CONFIG
from spool.tests.live import Server, serving, wait_until

pytestmark = pytest.mark.e2e

LONG = {**ENVIRONMENT, "WORKER_LEASE_SECS": "600"}


@pytest.fixture(scope="module")
def lasting() -> Iterator[Server]:
    """A server with one worker, and a lease that expires in no test."""
    with serving(CONFIG, workers=1, **LONG) as server:
        yield server


@pytest.fixture
def company(lasting: Server) -> Iterator[Company]:
    lasting.wait_until_ready()
    company = Company(lasting)
    yield company
    company.dismiss()


def test_the_run_of_a_killed_worker_goes_on_with_its_successor(
    company: Company, file: Path
) -> None:
    let_go = hold(file, "2")
    run = company.steps(file)
    wait_until(lambda: has_begun(file, "2"))

    company.server.worker().kill()
    let_go()

    assert run.ended() == "success"
    assert company.attempts(run) == (2, 1)


def test_a_neighbour_notices_a_killed_worker(company: Company, file: Path) -> None:
    [worker] = company.hire(N_JOBS_PER_WORKER="1")
    let_go = hold(file, "1")
    runs = [company.steps(file) for _ in range(11)]
    wait_until(lambda: company.rows(HELD_BY, worker.pid))

    worker.kill()
    let_go()

    assert {run.ended() for run in runs} == {"success"}


HELD_BY = """
SELECT runs.id FROM runs JOIN workers ON workers.id = worker_id
WHERE pid = %s AND status = 'running'
"""


@pytest.mark.parametrize("on_disconnect", ["cancel", "continue"])
def test_a_run_ends_with_its_client_although_web_died_with_it(
    company: Company, file: Path, on_disconnect: str
) -> None:
    thread = company.http.post("/threads", json={}).json()["thread_id"]
    body = {
        "assistant_id": "steps",
        "input": {"file": str(file), "delay": 0},
        "on_disconnect": on_disconnect,
    }
    let_go = hold(file, "1")
    with company.http.stream("POST", f"/threads/{thread}/runs/stream", json=body):
        wait_until(lambda: has_begun(file, "1"))
        company.server.web().kill()

    ended = {"cancel": "interrupted", "continue": "success"}
    company.server.wait_until_ready()
    if on_disconnect == "continue":
        let_go()
    wait_until(lambda: statuses(company, thread) <= {"success", "interrupted"})
    assert statuses(company, thread) == {ended[on_disconnect]}


def statuses(company: Company, thread_id: str) -> set[str]:
    asked = "SELECT status FROM runs WHERE thread_id = %s"
    return {status for (status,) in company.rows(asked, thread_id)}
