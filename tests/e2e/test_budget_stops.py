"""A whole server stops the runs of an owner whose budget is used up."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from spool.tests.live import (
    ROOT,
    WAIT_SECS,
    Server,
    manage,
    new_key,
    serving,
    wait_until,
)

pytestmark = pytest.mark.e2e

BUDGET, TOKENS_PER_CALL, DELAY = 100, 15, 0.25
# The documentation promises that a run is stopped within this time after its budget is
# used up.
STOPPED_WITHIN_SECS = 2.0


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    config = ROOT / "tests" / "graphs" / "langgraph.json"
    with serving(config, SPOOL_AUTH="api_key") as server:
        yield server


def client_of(server: Server, owner: str) -> httpx.Client:
    headers = {"x-api-key": new_key(server, owner)}
    return httpx.Client(base_url=server.url, headers=headers, timeout=WAIT_SECS)


def start(client: httpx.Client, file: Path, delay: float = DELAY) -> str:
    """Create a run that calls models for ever. Return its path."""
    thread = client.post("/threads", json={}).json()["thread_id"]
    body = {
        "assistant_id": "insatiable",
        "input": {"file": str(file), "delay": delay},
    }
    run = client.post(f"/threads/{thread}/runs", json=body).json()
    return f"/threads/{thread}/runs/{run['run_id']}"


def ended(client: httpx.Client, path: str) -> str:
    """Wait for the end of a run, and return how it ended."""

    def status() -> str:
        return str(client.get(path).json()["status"])

    wait_until(lambda: status() not in ("pending", "running"))
    return status()


def calls(file: Path) -> list[float]:
    """The times when each call was answered."""
    words = file.read_text().split() if file.exists() else []
    return [float(word) for word in words if word != "caught"]


# The time that a busy machine may need, and an idle one.
@pytest.mark.parametrize(
    "spare_secs", [30.0, pytest.param(1.0, marks=pytest.mark.long)]
)
def test_all_runs_of_the_owner_are_stopped_in_time(
    server: Server, tmp_path: Path, spare_secs: float
) -> None:
    owner = f"acme {spare_secs}"
    given = (f"--owner={owner}", "--per=day", f"--tokens={BUDGET}")
    manage(server, "set_budget", *given)
    spender, idler, other = (tmp_path / name for name in ("spender", "idler", "other"))
    with client_of(server, owner) as acme, client_of(server, "bob") as bob:
        # A run that makes a single call, and then waits.
        idle = start(acme, idler, delay=600)
        theirs = start(bob, other)
        wait_until(lambda: bool(calls(idler)))
        run = start(acme, spender)

        for path in (run, idle):
            assert ended(acme, path) == "error"
        timeline = acme.get(f"{run}/timeline").json()
        assert timeline["error"]["error"] == "BudgetExceeded"
        answered = calls(spender)
        crossing = math.ceil(BUDGET / TOKENS_PER_CALL) - 1  # The idler made one.
        late = answered[-1] - answered[crossing - 1]
        assert late < STOPPED_WITHIN_SECS + spare_secs
        # All tokens that were used are counted.
        spent = (len(answered) + 1) * TOKENS_PER_CALL
        usage = "/usage?graph_id=insatiable"
        wait_until(lambda: acme.get(usage).json()["total"]["total_tokens"] == spent)
        refused = acme.post("/runs", json={"assistant_id": "echo"})
        assert refused.status_code == 402
        # Runs of other owners continue.
        before = len(calls(other))
        wait_until(lambda: len(calls(other)) > before)
        assert bob.get(theirs).json()["status"] == "running"
