"""The record and the usage of a run whose worker was killed."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from spool.tests.company import Company, Run, asked, begun, has_begun, hold
from spool.tests.live import wait_until

pytestmark = pytest.mark.e2e

# How soon a model's answer is counted, whatever is killed afterwards.
COUNTED_SECS = 1.0


def used(company: Company) -> dict[str, int]:
    """The number of model calls by node, of all runs of the graph."""
    query = "graph_id=spending&group_by=node"
    rows = asked(company.http, f"/usage?{query}")["usage"]
    assert all(row["input_tokens"] == 10 * row["calls"] for row in rows)
    assert all(row["output_tokens"] == 5 * row["calls"] for row in rows)
    return {row["node"]: row["calls"] for row in rows}


def timeline(company: Company, run: Run) -> Any:
    return asked(company.http, f"{run.path}/timeline")


@pytest.mark.parametrize("step", [1, 2, 3])
def test_calls_of_a_killed_worker_count_once(
    company: Company, file: Path, step: int
) -> None:
    before = Counter(used(company))

    def expected() -> dict[str, int]:
        return before + Counter(f"s{number}" for number, _ in begun(file))

    company.hire(2)
    let_go = hold(file, str(step))
    given = {"file": str(file), "delay": 0}
    run = company.run("spending", input=given, durability="sync")
    wait_until(lambda: has_begun(file, str(step)))
    wait_until(lambda: used(company) == expected())

    company.by_pid(int(begun(file)[-1][1])).kill()
    let_go()

    assert run.ended() == "success"
    assert used(company) == expected()
    assert [number for number, _ in begun(file)].count(str(step)) == 2
    attempts = timeline(company, run)["attempts"]
    assert [attempt["outcome"] for attempt in attempts] == ["lost", "success"]
    first = [s["node"] for s in attempts[0]["steps"]]
    assert first == [f"s{n}" for n in range(1, step)]
    assert [s["node"] for s in attempts[1]["steps"]] == [
        f"s{n}" for n in range(step, 4)
    ]


@pytest.mark.long
@pytest.mark.parametrize("moment", [0.0, 0.3, 0.6, 0.9, 1.2])
def test_a_kill_at_any_time_loses_at_most_the_calls_of_the_last_second(
    company: Company, file: Path, moment: float
) -> None:
    before = sum(used(company).values())
    company.hire(2)
    run = company.run("spending", input={"file": str(file), "delay": 0.6})
    wait_until(lambda: has_begun(file, "1"))
    time.sleep(moment)
    settled = len(begun(file))
    time.sleep(COUNTED_SECS)

    pid = int(begun(file)[-1][1])
    company.by_pid(pid).kill()

    assert run.ended() == "success"
    noted = [int(of) for _, of in begun(file)]
    at_risk = noted.count(pid) - settled
    counted = sum(used(company).values()) - before
    assert len(noted) - at_risk <= counted <= len(noted)


@pytest.mark.long
def test_a_kill_right_after_the_end_loses_nothing(company: Company, file: Path) -> None:
    before = sum(used(company).values())
    [worker] = company.hire(1)
    run = company.run("spending", input={"file": str(file), "delay": 0.0})
    wait_until(lambda: run.status() == "success", pause=0.001)

    worker.kill()

    assert sum(used(company).values()) - before == 3
    assert [a["outcome"] for a in timeline(company, run)["attempts"]] == ["success"]
