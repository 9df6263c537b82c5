"""Which steps are repeated after a run's worker was killed, and which are not."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from spool.tests.company import STEPS, Company, begun, has_begun, hold
from spool.tests.live import WAIT_SECS, wait_until

pytestmark = pytest.mark.e2e

# With `sync`: by default, a step may be repeated that ended just before the kill.


def counts(file: Path) -> dict[str, int]:
    """How often each step has begun."""
    return Counter(words[0] for words in begun(file))


def test_a_subgraph_goes_on_where_it_was(company: Company, file: Path) -> None:
    company.hire()
    let_go = hold(file, "3")
    given = {"file": str(file), "delay": 0}
    run = company.run("family", input=given, durability="sync")
    wait_until(lambda: has_begun(file, "3"))

    company.replace()
    let_go()
    status = run.ended()

    assert status == "success"
    assert counts(file) == {"1": 1, "2": 1, "3": 2, "4": 1, "5": 1}
    unhurt = company.run("family", input={"file": str(file), "delay": 0})
    assert unhurt.ended() == "success"
    assert run.log() == unhurt.log()


@pytest.mark.parametrize(
    ("killed_at", "expected"),
    [
        ("yes", {"1": 1, "yes": 2, "2": 1, "3": 1}),
        ("2", {"1": 1, "yes": 1, "2": 2, "3": 1}),
    ],
)
def test_an_answer_is_neither_lost_nor_asked_for_again(
    company: Company, file: Path, killed_at: str, expected: dict[str, int]
) -> None:
    company.hire()
    asking = company.run("asking", input={"file": str(file), "delay": 0})
    asking.ended()
    let_go = hold(file, killed_at)
    resume = {"resume": "yes"}
    run = company.run_on(asking.thread_id, "asking", command=resume, durability="sync")
    wait_until(lambda: has_begun(file, killed_at))

    company.replace()
    let_go()
    status = run.ended()

    assert status == "success"
    assert counts(file) == expected
    assert run.log() == ["step1", "yes", "step2", "step3"]


def test_a_run_that_was_lost_still_stops_to_ask(company: Company, file: Path) -> None:
    company.hire()
    let_go = hold(file, "1")
    run = company.run("asking", input={"file": str(file), "delay": 0})
    wait_until(lambda: has_begun(file, "1"))

    company.replace()
    let_go()
    run.ended()

    thread = company.http.get(run.thread_path).json()
    assert thread["status"] == "interrupted"
    assert thread["values"]["log"] == ["step1"]
    [[asked]] = thread["interrupts"].values()
    assert asked["value"] == "go on?"


def test_a_run_that_keeps_no_steps_begins_anew(company: Company, file: Path) -> None:
    company.hire()
    let_go = hold(file, "3")
    given = {"file": str(file), "delay": 0}
    run = company.run("steps", input=given, durability="exit")
    wait_until(lambda: has_begun(file, "3"))

    company.replace()
    let_go()
    status = run.ended()

    assert status == "success"
    assert counts(file) == {"1": 2, "2": 2, "3": 2, "4": 1, "5": 1}
    assert run.log() == STEPS


def test_a_stateless_run_begins_anew(company: Company, file: Path) -> None:
    company.hire()
    let_go = hold(file, "3")
    given = {"file": str(file), "delay": 0}
    body = {"assistant_id": "steps", "input": given}

    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(company.http.post, "/runs/wait", json=body)
        wait_until(lambda: has_begun(file, "3"))
        company.replace()
        let_go()
        answer = waiting.result(timeout=WAIT_SECS).json()

    assert answer["log"] == STEPS
    assert counts(file) == {"1": 2, "2": 2, "3": 2, "4": 1, "5": 1}
