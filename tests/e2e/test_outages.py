"""Postgres, Redis and beat die, hang or lose data during runs and their streams."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis

from spool.tests.company import LEASE_SECS, STEPS, Company, has_begun, hold
from spool.tests.compat.wire import parse
from spool.tests.live import WAIT_SECS, wait_until

pytestmark = pytest.mark.e2e


def flush(company: Company) -> None:
    with redis.Redis.from_url(company.server.environment()["REDIS_URL"]) as client:
        client.flushall()


def kill_redis(company: Company) -> None:
    [valkey] = company.servers("valkey")
    valkey.kill()


@pytest.mark.parametrize("hurt", [flush, kill_redis])
def test_viewers_and_runs_outlive_redis(
    company: Company, file: Path, hurt: Any
) -> None:
    company.hire()
    let_go = hold(file, "2")
    run = company.steps(file)
    texts: list[str] = []

    def view() -> None:
        with company.http.stream("GET", f"{run.path}/stream") as response:
            texts.extend(response.iter_text())

    with ThreadPoolExecutor(1) as pool:
        viewing = pool.submit(view)
        wait_until(lambda: has_begun(file, "2"))
        hurt(company)
        let_go()
        viewing.result(timeout=WAIT_SECS)
    events = parse("".join(texts))

    assert run.ended() == "success"
    assert company.attempts(run) == (1, 0)
    assert events[-1].name == "end"
    assert [e.data["log"] for e in events if e.name == "values"][-1] == STEPS


def test_a_redis_that_hangs_delays_no_request(company: Company, file: Path) -> None:
    company.hire()
    let_go = hold(file, "1")
    run = company.steps(file)
    wait_until(lambda: has_begun(file, "1"))
    [valkey] = company.servers("valkey")

    valkey.suspend()
    try:
        # More than the web process has threads.
        late = [company.run("slow", input={"delay": 0}) for _ in range(10)]
        let_go()
        joined = company.http.get(f"{run.path}/join").json()
    finally:
        valkey.resume()

    assert joined["log"] == STEPS
    assert company.attempts(run) == (1, 0)
    assert {one.ended() for one in late} == {"success"}


def created_stream(company: Company, file: Path) -> str:
    """A stream that creates its run."""
    thread = company.http.post("/threads", json={}).json()
    path = f"/threads/{thread['thread_id']}/runs/stream"
    body = {"assistant_id": "steps", "input": {"file": str(file)}}
    return company.http.post(path, json=body).text


def test_no_kind_of_message_is_missed_where_redis_hangs_and_dies(
    company: Company, file: Path
) -> None:
    """Wake-ups, signals to stop, and events on the channel of a run's creator."""
    company.hire()
    endless = file.with_name("endless")
    hold(endless, "1")
    stopped = company.steps(endless)
    let_go = hold(file, "2")

    with ThreadPoolExecutor(1) as pool:
        viewing = pool.submit(created_stream, company, file)
        wait_until(lambda: has_begun(file, "2") and has_begun(endless, "1"))
        [valkey] = company.servers("valkey")
        valkey.suspend()
        late = company.run("slow", input={"delay": 0})
        company.http.post(f"{stopped.path}/cancel")
        let_go()
        valkey.kill()
        events = parse(viewing.result(timeout=40))

    assert late.ended() == "success"
    assert stopped.ended() == "interrupted"
    logs = [e.data.get("log", []) for e in events if e.name == "values"]
    assert [log for log in logs if log] == [STEPS[:number] for number in range(1, 6)]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_runs_outlive_postgres(
    company: Company, file: Path, number: signal.Signals
) -> None:
    company.hire(2)
    let_go = hold(file, "3")
    runs = [company.steps(file) for _ in range(50)]
    wait_until(lambda: has_begun(file, "3"))

    [postgres] = company.servers("postgres")
    os.kill(postgres.pid, number)
    let_go()
    company.server.wait_until_ready()

    assert Counter(run.ended() for run in runs) == {"success": 50}
    assert [run.log() for run in runs] == [STEPS] * 50


@contextmanager
def hanging(company: Company) -> Iterator[None]:
    [postgres] = company.servers("postgres")
    servers = [postgres, *postgres.children(recursive=True)]
    for one in servers:
        one.suspend()
    try:
        yield
    finally:
        for one in servers:
            one.resume()


@contextmanager
def refusing(company: Company) -> Iterator[None]:
    """Postgres is down, and is not restarted until the block ends."""
    [postgres] = company.servers("postgres")
    supervisor = company.server.processes()[0]
    supervisor.suspend()
    os.kill(postgres.pid, signal.SIGINT)
    try:
        yield
    finally:
        supervisor.resume()


@pytest.mark.parametrize("away", [hanging, refusing])
def test_a_postgres_that_is_away_for_long_costs_no_lease(
    company: Company, file: Path, away: Any
) -> None:
    company.hire(2)
    time.sleep(1)  # Wait until both can detect which process is gone.
    let_go = hold(file, "2")
    runs = [company.steps(file) for _ in range(6)]
    wait_until(lambda: has_begun(file, "2"))

    with away(company):
        let_go()
        time.sleep(1.5 * LEASE_SECS)
    company.server.wait_until_ready()

    assert Counter(run.ended() for run in runs) == {"success": 6}
    assert [run.log() for run in runs] == [STEPS] * 6
    assert company.expired() == []
    assert {company.attempts(run) for run in runs} == {(1, 0)}


def test_a_late_run_comes_although_beat_was_killed(company: Company) -> None:
    company.hire()
    company.server.beat().kill()

    run = company.run("slow", input={"delay": 0}, after_seconds=1)

    assert run.ended() == "success"
