"""Workers that stop, hang, die or are replaced, and servers that go away under them.

The workers are the tests' own, so that each test says how many there are and which of
them is hurt. Leases are short, so that what takes seconds in earnest takes less here.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import psutil
import psycopg
import pytest
import redis

from tests.compat.wire import parse
from tests.conftest import CONFIG
from tests.live import Server, Worker, wait_until

pytestmark = pytest.mark.e2e

LEASE_SECS = 2.0
GRACE_SECS = 3
TIMEOUT_SECS = 9
RECOVERY_SECS = 15
NUMBERS = count(1)
STEPS = [f"step{number}" for number in range(1, 6)]


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """A server without workers."""
    server = Server(
        CONFIG,
        workers=0,
        WORKER_HEARTBEAT_SECS="0.3",
        WORKER_LEASE_SECS=str(LEASE_SECS),
        BG_JOB_SHUTDOWN_GRACE_PERIOD_SECS=str(GRACE_SECS),
        BG_JOB_TIMEOUT_SECS=str(TIMEOUT_SECS),
        STREAM_HEARTBEAT_SECS="1",
    )
    server.start()
    yield server
    server.stop()


class Company:
    """The server, its workers, and what they do."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.http = httpx.Client(base_url=server.url, timeout=40)
        self.workers: list[Worker] = []
        self._database = server.environment()["DATABASE_URL"]

    def hire(self, how_many: int = 1) -> list[Worker]:
        """So many more workers, ready to work."""
        hired = [Worker(self.server, f"hired-{next(NUMBERS)}") for _ in range(how_many)]
        self.workers += hired
        for worker in hired:
            wait_until(lambda pid=worker.pid: self.is_alive(pid), 40)  # type: ignore[misc]
        return hired

    def dismiss(self) -> None:
        for worker in self.workers:
            worker.kill()
        self.http.close()

    def by_pid(self, pid: int) -> Worker:
        return next(worker for worker in self.workers if worker.pid == pid)

    # --- What Postgres knows -----------------------------------------------------
    def rows(self, query: str, *params: Any) -> list[tuple[Any, ...]]:
        with psycopg.connect(self._database) as conn:
            return list(conn.execute(query.encode(), params).fetchall())

    def is_alive(self, pid: int) -> bool:
        lives = "SELECT id FROM workers WHERE pid = %s AND expired_at IS NULL"
        return bool(self.rows(lives, pid))

    def expired(self) -> list[int]:
        pids = [worker.pid for worker in self.workers]
        dead = "SELECT pid FROM workers WHERE pid = ANY(%s) AND expired_at IS NOT NULL"
        return [pid for (pid,) in self.rows(dead, pids)]

    def attempts(self, run: Run) -> tuple[int, int]:
        """Attempts of a run, and how many of them were lost with their worker."""
        found = self.rows("SELECT attempt, losses FROM runs WHERE id = %s", run.id)
        attempt, losses = found[0]
        return attempt, losses

    # --- Runs ----------------------------------------------------------------------
    def run(self, graph: str, **body: Any) -> Run:
        thread = self.http.post("/threads", json={}).json()
        path = f"/threads/{thread['thread_id']}/runs"
        created = self.http.post(path, json={"assistant_id": graph, **body})
        created.raise_for_status()
        return Run(self.http, thread["thread_id"], created.json()["run_id"])

    def steps(self, file: Path, delay: float) -> Run:
        return self.run("steps", input={"file": str(file), "delay": delay})


class Run:
    def __init__(self, http: httpx.Client, thread_id: str, run_id: str) -> None:
        self.id = run_id
        self.http = http
        self.thread_path = f"/threads/{thread_id}"
        self.path = f"{self.thread_path}/runs/{run_id}"

    def status(self) -> str:
        return str(asked(self.http, self.path)["status"])

    def ended(self, seconds: float = 40) -> str:
        """Its last status, once it has one."""
        wait_until(lambda: self.status() not in ("pending", "running"), seconds)
        return self.status()

    def log(self) -> list[str]:
        return list(asked(self.http, self.thread_path)["values"]["log"])

    def saved_steps(self) -> list[int]:
        """The numbers of the supersteps that were saved."""
        body = {"limit": 100}
        states = self.http.post(f"{self.thread_path}/history", json=body).json()
        return [state["metadata"]["step"] for state in states]


def asked(http: httpx.Client, path: str) -> Any:
    """A GET as clients make it: while Postgres is away they are told to try again."""
    deadline = time.monotonic() + 20
    while (answer := http.get(path)).status_code == 503 and time.monotonic() < deadline:
        time.sleep(0.1)
    return answer.json()


@pytest.fixture
def company(server: Server) -> Iterator[Company]:
    server.wait_until_ready()
    company = Company(server)
    yield company
    company.dismiss()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Where graphs note what they begin."""
    return tmp_path / "begun"


def begun(file: Path) -> list[list[str]]:
    """The words of each line: what was begun, by which process, in which attempt."""
    if not file.exists():
        return []
    return [line.split() for line in file.read_text().splitlines()]


def has_begun(file: Path, what: str) -> bool:
    return any(words[0] == what for words in begun(file))


# --- Workers that stop --------------------------------------------------------------
def test_a_worker_that_slept_through_its_lease_changes_nothing(
    company: Company, file: Path
) -> None:
    company.hire(2)
    run = company.steps(file, delay=0.6)
    wait_until(lambda: has_begun(file, "2"), 20)
    asleep = company.by_pid(int(begun(file)[0][1]))

    asleep.send(signal.SIGSTOP)
    stopped_at = time.monotonic()
    wait_until(lambda: len({words[1] for words in begun(file)}) == 2, 30)
    resumed_after = time.monotonic() - stopped_at
    status = run.ended()
    steps = run.saved_steps()
    asleep.send(signal.SIGCONT)
    # It comes back as a new worker, which owns nothing.
    wait_until(lambda: company.is_alive(asleep.pid), 20)
    time.sleep(1)

    assert resumed_after < RECOVERY_SECS
    assert status == run.status() == "success"
    assert run.log() == STEPS
    assert run.saved_steps() == steps
    assert len(set(steps)) == len(steps)
    assert company.attempts(run) == (2, 1)
    # It goes on with nothing, and is good for new runs.
    others = Counter(words[0] for words in begun(file) if words[1] != str(asleep.pid))
    assert max(others.values()) == 1
    for other in company.workers:
        if other is not asleep:
            other.kill()
    assert company.run("slow", input={"delay": 0}).ended() == "success"


def test_a_node_that_blocks_the_loop_costs_no_lease(
    company: Company, file: Path
) -> None:
    [worker] = company.hire()
    healthy = company.steps(file, delay=0.2)
    wait_until(lambda: has_begun(file, "1"), 20)
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


def test_runs_of_killed_workers_are_finished_by_the_next(
    company: Company, file: Path
) -> None:
    workers = company.hire(2)
    runs = [company.steps(file, delay=0.4) for _ in range(6)]
    wait_until(lambda: has_begun(file, "2"), 20)

    for worker in workers:
        worker.kill()
    company.hire()

    assert [run.ended() for run in runs] == ["success"] * 6
    assert [run.log() for run in runs] == [STEPS] * 6


def test_a_run_that_kills_its_workers_is_given_up(company: Company, file: Path) -> None:
    company.hire(4)

    run = company.run("killer", input={"file": str(file)})
    viewed = parse(company.http.get(f"{run.path}/stream").text)

    assert run.ended(60) == "error"
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
def test_a_worker_that_is_told_to_stop_finishes_or_hands_back(
    company: Company, file: Path, tmp_path: Path
) -> None:
    [old] = company.hire()
    long, brief = company.steps(file, delay=1.5), company.steps(tmp_path / "b", 0.3)
    wait_until(lambda: has_begun(file, "1") and has_begun(tmp_path / "b", "1"), 20)
    [new] = company.hire()
    told_at = time.monotonic()
    # The brief one may be over by now; one more that certainly is not.
    old.send(signal.SIGTERM)
    code = old.process.wait(timeout=GRACE_SECS + 12)
    took = time.monotonic() - told_at

    assert code == 0
    assert took < GRACE_SECS + 10
    assert (brief.ended(), long.ended()) == ("success", "success")
    assert company.attempts(brief) == (1, 0)
    # Handed over at once: nobody waited for a lease, and nothing counts as lost.
    assert company.attempts(long) == (2, 0)
    assert long.log() == STEPS
    assert {words[1] for words in begun(file)} == {str(old.pid), str(new.pid)}


def test_a_deploy_fails_no_run(company: Company, file: Path) -> None:
    [old] = company.hire()
    over = threading.Event()
    runs: list[Run] = []

    def keep_asking() -> None:
        while not over.is_set():
            runs.append(company.steps(file, delay=0.1))
            time.sleep(0.1)

    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(keep_asking)
        try:
            time.sleep(1)
            company.hire()
            old.send(signal.SIGTERM)
            code = old.process.wait(timeout=GRACE_SECS + 12)
            time.sleep(1)
        finally:
            over.set()
        asking.result()

    assert code == 0
    assert {run.ended() for run in runs} == {"success"}
    # All of them were short enough for the grace: none was begun twice.
    assert {company.attempts(run) for run in runs} == {(1, 0)}
    assert len(begun(file)) == 5 * len(runs)


def test_a_run_that_takes_too_long_is_stopped(company: Company) -> None:
    company.hire()

    run = company.run("slow", input={"delay": TIMEOUT_SECS * 0.8})
    viewed = parse(company.http.get(f"{run.path}/stream").text)

    assert run.status() == "timeout"
    # Nothing of an error: the stream just ends.
    assert {event.name for event in viewed} <= {"metadata", "values", "end"}
    thread = company.http.get(run.thread_path).json()
    assert thread["status"] == "error"
    assert thread["error"] == {"error": "TimeoutError", "message": ""}
    assert thread["values"]["log"] == ["step1"]


# --- Servers that go away ---------------------------------------------------------------
def flush(company: Company) -> None:
    with redis.Redis.from_url(company.server.environment()["REDIS_URL"]) as client:
        client.flushall()


def kill_redis(company: Company) -> None:
    [valkey] = children(company, "valkey")
    valkey.kill()


def children(company: Company, name: str) -> list[psutil.Process]:
    supervisor = company.server.processes()[0]
    return [child for child in supervisor.children() if name in child.name()]


@pytest.mark.parametrize("hurt", [flush, kill_redis])
def test_viewers_and_runs_outlive_redis(
    company: Company, file: Path, hurt: Any
) -> None:
    company.hire()
    run = company.steps(file, delay=0.5)
    texts: list[str] = []

    def view() -> None:
        with company.http.stream("GET", f"{run.path}/stream") as response:
            texts.extend(response.iter_text())

    with ThreadPoolExecutor(1) as pool:
        viewing = pool.submit(view)
        wait_until(lambda: has_begun(file, "2"), 20)
        hurt(company)
        viewing.result(timeout=40)
    events = parse("".join(texts))

    assert run.ended() == "success"
    assert company.attempts(run) == (1, 0)
    assert events[-1].name == "end"
    assert [e.data["log"] for e in events if e.name == "values"][-1] == STEPS


def test_a_redis_that_hangs_holds_up_nobody(company: Company, file: Path) -> None:
    company.hire()
    run = company.steps(file, delay=0.5)
    wait_until(lambda: has_begun(file, "1"), 20)
    [valkey] = children(company, "valkey")

    valkey.suspend()
    try:
        # More than the web has threads.
        late = [company.run("slow", input={"delay": 0}) for _ in range(10)]
        joined = company.http.get(f"{run.path}/join").json()
    finally:
        valkey.resume()

    assert joined["log"] == STEPS
    assert company.attempts(run) == (1, 0)
    assert {one.ended() for one in late} == {"success"}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_runs_outlive_postgres(
    company: Company, file: Path, number: signal.Signals
) -> None:
    company.hire(2)
    runs = [company.steps(file, delay=0.3) for _ in range(50)]
    wait_until(lambda: has_begun(file, "3"), 20)

    [postgres] = children(company, "postgres")
    os.kill(postgres.pid, number)
    company.server.wait_until_ready()

    assert Counter(run.ended() for run in runs) == {"success": 50}
    assert [run.log() for run in runs] == [STEPS] * 50


def test_a_postgres_that_hangs_costs_no_lease(company: Company, file: Path) -> None:
    company.hire(2)
    time.sleep(1)  # Until both can tell who is gone.
    runs = [company.steps(file, delay=0.6) for _ in range(6)]
    wait_until(lambda: has_begun(file, "2"), 20)

    [postgres] = children(company, "postgres")
    servers = [postgres, *postgres.children(recursive=True)]
    for one in servers:
        one.suspend()
    time.sleep(1.5 * LEASE_SECS)
    for one in servers:
        one.resume()

    assert Counter(run.ended() for run in runs) == {"success": 6}
    assert company.expired() == []
    assert {company.attempts(run) for run in runs} == {(1, 0)}


def test_a_late_run_comes_although_beat_was_killed(company: Company) -> None:
    company.hire()
    company.server.beat().kill()

    run = company.run("slow", input={"delay": 0}, after_seconds=1)

    assert run.ended(20) == "success"
