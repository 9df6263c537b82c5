"""Every run ends for its subscribers, and losses are reported, after real crashes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis

from spool.runs.streaming.scripts import SEQ_JUMP
from spool.tests.company import Company
from spool.tests.compat.streaming import Thread, after, ends_run
from spool.tests.e2e.event_clients import is_snapshot
from spool.tests.live import WAIT_SECS

pytestmark = pytest.mark.e2e

WATCHED = ["lifecycle", "values", "custom"]


@pytest.fixture
def thread(company: Company) -> Iterator[Thread]:
    with httpx.Client(base_url=company.server.url, timeout=WAIT_SECS) as http:
        yield Thread(http)


def forget(company: Company) -> None:
    with redis.Redis.from_url(company.server.environment()["REDIS_URL"]) as client:
        client.flushall()


def told(events: list[Any]) -> list[str]:
    return [one["params"]["data"]["event"] for one in events]


# --- Ends -------------------------------------------------------------------------------
def test_a_run_that_is_lost_with_its_workers_ends(
    company: Company, thread: Thread, file: Path
) -> None:
    company.hire(4)

    thread.start("killer", {"file": str(file)})
    events = thread.events(["lifecycle"])

    assert told(events)[-1] == "failed"
    assert events[-1]["params"]["data"]["error"].startswith("The run was lost")


def test_a_run_that_takes_too_long_ends(company: Company, thread: Thread) -> None:
    company.hire(BG_JOB_TIMEOUT_SECS="1")

    thread.start("slow", {"delay": 30})
    events = thread.events(["lifecycle"])

    assert told(events) == ["running", "failed"]
    assert events[-1]["params"]["data"]["error"] == "The run timed out"


def test_a_run_that_is_deleted_while_it_runs_ends(
    company: Company, thread: Thread, file: Path
) -> None:
    company.hire()
    run_id = thread.start("steps", {"file": str(file), "delay": 30})
    stream = thread.stream(["lifecycle"])
    running = next(stream)

    company.http.delete(f"/threads/{thread.id}/runs/{run_id}").raise_for_status()
    end = next(stream)
    stream.close()

    assert told([running, end]) == ["running", "failed"]
    assert run_id in end["event_id"]


def test_a_run_that_is_cancelled_before_it_began_ends(
    company: Company, thread: Thread
) -> None:
    run_id = thread.start("slow", {"delay": 0})
    path = f"/threads/{thread.id}/runs/{run_id}/cancel"
    company.http.post(path).raise_for_status()

    events = thread.events(["lifecycle"])

    assert told(events) == ["failed"]
    assert run_id in events[-1]["event_id"]


# --- Losses -----------------------------------------------------------------------------
def test_what_redis_lost_of_an_ended_run_is_summed_up(
    company: Company, thread: Thread
) -> None:
    company.hire()
    thread.start("counting", {"count": 2, "delay": 0})
    whole = thread.events(WATCHED)

    forget(company)
    missed = thread.events(WATCHED, since=whole[3]["seq"])
    thread.start("counting", {"count": 2, "delay": 0})
    later = thread.events(WATCHED, since=whole[-1]["seq"])
    again = thread.events(WATCHED, after(2), since=whole[3]["seq"])

    assert [event["method"] for event in missed] == ["values", "lifecycle"]
    assert is_snapshot(missed[0])
    assert missed[-1]["event_id"] == whole[-1]["event_id"]
    assert missed[0]["params"]["data"] == whole[-2]["params"]["data"]
    assert later[0]["seq"] >= whole[-1]["seq"] + SEQ_JUMP
    assert told([later[0], later[-1]]) == ["running", "completed"]
    assert [event["seq"] for event in again[-len(later) :]] == [
        event["seq"] for event in later
    ]


@pytest.mark.long
def test_what_redis_lost_with_a_worker_is_summed_up(
    company: Company, thread: Thread
) -> None:
    company.hire()
    thread.start("counting", {"count": 30, "delay": 0.05})
    stream = thread.stream(WATCHED)
    events = []
    for event in stream:
        events.append(event)
        if event["params"]["data"].get("log") == ["step1"]:
            break

    for worker in company.workers:
        worker.kill()
    forget(company)
    company.hire()
    for event in stream:
        events.append(event)
        if ends_run(event):
            break
    stream.close()

    numbers = [event["seq"] for event in events]
    assert numbers == sorted(set(numbers))
    [snapshot] = [one for one in events if is_snapshot(one)]
    before = events[events.index(snapshot) - 1]
    assert snapshot["seq"] >= before["seq"] + SEQ_JUMP
    assert told(events[-1:]) == ["completed"]
    assert len(events[-2]["params"]["data"]["log"]) == 5
