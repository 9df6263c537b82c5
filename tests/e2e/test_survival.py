"""Workers that stop, hang, die or are replaced: an accepted run ends exactly once."""

from __future__ import annotations

import signal
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from spool.tests.company import (
    LEASE_SECS,
    STEPS,
    Company,
    Run,
    begun,
    has_begun,
    hold,
)
from spool.tests.compat.wire import parse
from spool.tests.live import WAIT_SECS, wait_until

pytestmark = pytest.mark.e2e

# One event loop for all runs of a worker, or one for each of its threads.
both_kinds_of_loops = pytest.mark.parametrize(
    "loops",
    [{}, {"BG_JOB_ISOLATED_LOOPS": "true"}],
    ids=["shared", "isolated"],
)


# --- Workers that hang or die -------------------------------------------------------
def test_a_worker_that_slept_through_its_lease_changes_nothing(
    company: Company, file: Path
) -> None:
    company.hire(2)
    let_go = hold(file, "2")
    run = company.steps(file)
    wait_until(lambda: has_begun(file, "2"))
    asleep = company.by_pid(int(begun(file)[0][1]))

    asleep.send(signal.SIGSTOP)
    wait_until(lambda: len({words[1] for words in begun(file)}) == 2)
    let_go()
    status = run.ended()
    steps = run.saved_steps()
    asleep.send(signal.SIGCONT)
    # It continues as a new worker, which owns no run, and accepts new runs.
    wait_until(lambda: company.is_alive(asleep.pid))
    for other in company.workers:
        if other is not asleep:
            other.kill()
    another = company.run("slow", input={"delay": 0})

    assert another.ended() == "success"
    assert status == run.status() == "success"
    assert run.log() == STEPS
    assert run.saved_steps() == steps
    assert len(set(steps)) == len(steps)
    assert company.attempts(run) == (2, 1)
    others = Counter(words[0] for words in begun(file) if words[1] != str(asleep.pid))
    assert max(others.values()) == 1


def test_a_node_that_blocks_the_loop_costs_no_lease(
    company: Company, file: Path
) -> None:
    [worker] = company.hire()
    healthy = company.steps(file, delay=0.2)
    wait_until(lambda: has_begun(file, "1"))
    blocked = company.run(
        "blocking", input={"file": str(file), "delay": 2.5 * LEASE_SECS}
    )

    assert (blocked.ended(), healthy.ended()) == ("success", "success")
    assert company.attempts(blocked) == company.attempts(healthy) == (1, 0)
    assert company.expired() == []
    counts = Counter(words[0] for words in begun(file))
    assert counts == {"block": 1, **{str(number): 1 for number in range(1, 6)}}
    named = f"node 'block' of run {blocked.id} blocks the event loop"
    assert named in worker.log.read_text()


def test_a_node_that_blocks_a_loop_of_its_own_delays_no_other(
    company: Company, file: Path, tmp_path: Path
) -> None:
    company.hire(BG_JOB_ISOLATED_LOOPS="true")
    let_go = hold(file, "block")
    blocked = company.run("blocking", input={"file": str(file), "delay": 0})
    wait_until(lambda: has_begun(file, "block"))

    healthy = [company.steps(tmp_path / "others") for _ in range(3)]
    others = [run.ended() for run in healthy]
    meanwhile = blocked.status()
    let_go()

    assert others == ["success"] * 3
    assert meanwhile == "running"
    assert blocked.ended() == "success"
    assert {company.attempts(run) for run in [blocked, *healthy]} == {(1, 0)}


@both_kinds_of_loops
def test_runs_of_killed_workers_are_finished_by_the_next(
    company: Company, file: Path, loops: dict[str, str]
) -> None:
    workers = company.hire(2, **loops)
    let_go = hold(file, "2")
    runs = [company.steps(file) for _ in range(6)]
    wait_until(lambda: len(begun(file)) == 2 * len(runs))

    for worker in workers:
        worker.kill()
    let_go()
    company.hire(**loops)

    assert [run.ended() for run in runs] == ["success"] * 6
    assert [run.log() for run in runs] == [STEPS] * 6


def test_a_run_that_kills_its_workers_is_given_up(company: Company, file: Path) -> None:
    company.hire(4)

    run = company.run("killer", input={"file": str(file)})
    viewed = parse(company.http.get(f"{run.path}/stream").text)

    assert run.ended() == "error"
    assert len({words[1] for words in begun(file)}) == 3
    answer = company.http.get(f"{run.path}/join").json()
    lost = {
        "error": "WorkerLost",
        "message": "The run was lost with its worker 3 times.",
    }
    assert answer["__error__"] == lost
    assert (viewed[-1].name, viewed[-1].data) == ("error", lost)
    thread = company.http.get(run.thread_path).json()
    assert thread["status"] == "error"


# --- Workers that are told to go ------------------------------------------------------
@both_kinds_of_loops
def test_a_worker_that_is_told_to_stop_finishes_or_hands_back(
    company: Company, file: Path, tmp_path: Path, loops: dict[str, str]
) -> None:
    [old] = company.hire(**loops)
    other = tmp_path / "b"
    end_long, end_brief = hold(file, "1"), hold(other, "5")
    long, brief = company.steps(file), company.steps(other)
    wait_until(lambda: has_begun(file, "1") and has_begun(other, "5"))

    old.send(signal.SIGTERM)
    wait_until(lambda: "shutdown" in old.log.read_text())
    end_brief()
    code = old.process.wait(timeout=WAIT_SECS)
    handed_back = long.status()
    end_long()
    [new] = company.hire(**loops)

    assert code == 0
    assert handed_back == "pending"
    assert (brief.ended(), long.ended()) == ("success", "success")
    assert company.attempts(brief) == (1, 0)
    # The run was handed back at once: no lease had to expire, and no attempt was lost.
    assert company.attempts(long) == (2, 0)
    assert long.log() == STEPS
    assert {words[1] for words in begun(file)} == {str(old.pid), str(new.pid)}


@both_kinds_of_loops
def test_a_worker_that_is_told_to_stop_waits_for_no_node_on_a_thread(
    company: Company, file: Path, loops: dict[str, str]
) -> None:
    [worker] = company.hire(**loops)
    run = company.run("sleeping", input={"file": str(file), "delay": 60})
    wait_until(lambda: has_begun(file, "sleep"))

    worker.send(signal.SIGTERM)
    code = worker.process.wait(timeout=WAIT_SECS)

    assert code == 0
    assert run.status() == "pending"
    assert company.attempts(run) == (1, 0)
    assert not company.is_alive(worker.pid)
    company.http.delete(run.path)


def test_a_deploy_fails_no_run(company: Company, file: Path) -> None:
    # The grace period is longer than any of its runs.
    [old] = company.hire(BG_JOB_SHUTDOWN_GRACE_PERIOD_SECS="300")
    over = threading.Event()
    runs: list[Run] = []

    def keep_asking() -> None:
        while not over.is_set():
            runs.append(company.steps(file, delay=0.1))
            time.sleep(0.1)

    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(keep_asking)
        try:
            wait_until(lambda: len(runs) > 3)
            company.hire()
            old.send(signal.SIGTERM)
            code = old.process.wait(timeout=WAIT_SECS)
            count = len(runs)
            wait_until(lambda: len(runs) > count + 3)
        finally:
            over.set()
        asking.result()

    assert code == 0
    assert {run.ended() for run in runs} == {"success"}
    # No run began twice, although one that was claimed just before the worker had to
    # stop may have been handed back, for a second attempt.
    assert {lost for _, lost in map(company.attempts, runs)} == {0}
    assert len(begun(file)) == 5 * len(runs)


@both_kinds_of_loops
def test_a_run_is_cancelled_where_it_runs(
    company: Company, file: Path, loops: dict[str, str]
) -> None:
    company.hire(**loops)
    hold(file, "2")
    run = company.steps(file)
    wait_until(lambda: has_begun(file, "2"))

    answer = company.http.post(f"{run.path}/cancel", params={"wait": "1"})

    assert answer.status_code == 200
    assert run.status() == "interrupted"
    assert run.log() == ["step1"]
    assert not has_begun(file, "3")


@both_kinds_of_loops
def test_a_run_that_takes_too_long_is_stopped(
    company: Company, file: Path, loops: dict[str, str]
) -> None:
    company.hire(BG_JOB_TIMEOUT_SECS="3", **loops)
    hold(file, "2")

    run = company.steps(file)
    viewed = parse(company.http.get(f"{run.path}/stream").text)

    assert run.status() == "timeout"
    # No error event: the stream just ends.
    assert {event.name for event in viewed} <= {"metadata", "values", "end"}
    thread = company.http.get(run.thread_path).json()
    assert thread["status"] == "error"
    assert thread["error"] == {"error": "TimeoutError", "message": ""}
    assert thread["values"]["log"] == ["step1"]
