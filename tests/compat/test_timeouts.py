"""A run that exceeds its timeout, as its clients see it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from langgraph_sdk import get_sync_client

from spool.tests.company import hold
from spool.tests.compat.wire import (
    normalised,
    parse,
    recorded,
    without,
    without_end,
)
from spool.tests.conftest import CONFIG
from spool.tests.live import Server, serving

TOO_LONG = {"error": "TimeoutError", "message": ""}

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with serving(CONFIG, BG_JOB_TIMEOUT_SECS="3") as server:
        yield server


@pytest.fixture
def thread(sync_http: httpx.Client) -> str:
    """The path of a new thread."""
    return f"/threads/{sync_http.post('/threads', json={}).json()['thread_id']}"


@pytest.fixture
def given(file: Path) -> dict[str, Any]:
    """The input of a graph whose third step takes too long."""
    hold(file, "3")
    return {"file": str(file), "delay": 0}


def test_a_recorded_timeout_comes_out_the_same(
    sync_http: httpx.Client, thread: str, given: dict[str, Any]
) -> None:
    recording = recorded("other_recordings/timeout_stream")
    body = {**recording["body"], "assistant_id": "steps", "input": given}

    response = sync_http.post(f"{thread}/runs/stream", json=body)

    events = parse(response.text)
    expected = without(recording["events"], "delay")
    assert without(normalised(without_end(events)), *given) == expected
    assert events[-1].name == "end"
    [run] = sync_http.get(f"{thread}/runs").json()
    assert run["status"] == "timeout"


def test_a_wait_answers_with_what_there_was(
    server: Server, thread: str, given: dict[str, Any]
) -> None:
    thread_id = thread.removeprefix("/threads/")
    with get_sync_client(url=server.url) as client:
        values: Any = client.runs.wait(thread_id, "steps", input=given)
        found: Any = client.threads.get(thread_id)
        # The thread continues from there.
        after: Any = client.runs.wait(thread_id, "slow", input={"delay": 0})

    assert values["log"] == ["step1", "step2"]
    assert (found["status"], found["error"]) == ("error", TOO_LONG)
    assert after["log"][2:] == [f"step{number}" for number in range(1, 6)]
