"""A typical deployment loses, repeats and blocks no run, whatever part restarts."""

from __future__ import annotations

import json
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from spool.tests.company import STEPS
from spool.tests.conftest import CONFIG
from spool.tests.e2e.deployment import PROGRAMS, Deployment
from spool.tests.live import wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.long, pytest.mark.needs(*PROGRAMS)]

PARTS = (
    "web1",
    "worker1",
    "beat1",
    "pgbouncer",
    "redis",
    "nginx",
    "postgres",
    "web2",
    "worker2",
    "beat2",
)
STREAMING, WAITING = 6, 3
EVERY_SECOND = "* * * * * *"
# How long clients wait for a run, whatever happens to the parts.
RUN_SECS = 90


@pytest.fixture
def deployment(certificate: Path) -> Iterator[Deployment]:
    deployment = Deployment(CONFIG, certificate)
    try:
        deployment.start()
        yield deployment
    finally:
        deployment.end()


class Client:
    """A client that retries requests, and resumes its streams at their last event."""

    def __init__(self, deployment: Deployment, key: str, file: Path) -> None:
        self.file = file
        self._http = httpx.Client(
            base_url=deployment.url,
            verify=deployment.trust(),
            headers={"x-api-key": key},
            timeout=20,
        )

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """Send a request until it is answered. It must be one that may be repeated."""
        deadline = time.monotonic() + RUN_SECS
        while time.monotonic() < deadline:
            try:
                answer = self._http.request(method, path, json=body)
            except httpx.HTTPError:
                continue
            if answer.status_code < 500:
                answer.raise_for_status()
                return answer.json()
            time.sleep(0.1)
        raise TimeoutError(path)

    def close(self) -> None:
        self._http.close()

    def thread(self) -> str:
        body = {"thread_id": str(uuid4()), "if_exists": "do_nothing"}
        return str(self.call("POST", "/threads", body)["thread_id"])

    def run(self, thread_id: str) -> str:
        """Create a run only once: if the response is lost, the run may still exist."""
        body = {
            "assistant_id": "steps",
            "input": {"file": str(self.file), "delay": 0.2},
            "stream_mode": ["custom", "values"],
            "stream_resumable": True,
            "multitask_strategy": "reject",
        }
        path = f"/threads/{thread_id}/runs"
        while not (found := self.call("GET", path)):
            try:
                self._http.post(path, json=body)
            except httpx.HTTPError:
                # The process that got the request may not be done with it.
                time.sleep(1)
        return str(found[0]["run_id"])

    def stream(self, thread_id: str, run_id: str) -> list[tuple[str, str, Any]]:
        """All events of a run, from streams that break off and are resumed."""
        events: list[tuple[str, str, Any]] = []
        path = f"/threads/{thread_id}/runs/{run_id}/stream"
        deadline = time.monotonic() + RUN_SECS
        while not events or events[-1][1] != "end":
            assert time.monotonic() < deadline, f"no end of {run_id}: {events}"
            last = {"Last-Event-ID": events[-1][0] if events else "-1"}
            try:
                with self._http.stream("GET", path, headers=last) as response:
                    events += _events(response)
            except httpx.HTTPError:
                time.sleep(0.05)
        return events


def _events(response: httpx.Response) -> Iterator[tuple[str, str, Any]]:
    event: dict[str, str] = {}
    for line in response.iter_lines():
        name, _, value = line.partition(": ")
        event[name] = value
        if not line:
            if "event" in event:
                yield event["id"], event["event"], json.loads(event["data"])
            event = {}


class Load:
    """Clients in threads, which create one run after another until they are stopped."""

    def __init__(self, deployment: Deployment, key: str, folder: Path) -> None:
        self.runs: list[tuple[str, str]] = []
        self.streams: dict[str, list[tuple[str, str, Any]]] = {}
        self.failures: list[str] = []
        self.client = Client(deployment, key, folder / "begun")
        self._over = threading.Event()
        kinds = [self._stream] * STREAMING + [self._wait] * WAITING
        self._threads = [
            threading.Thread(target=self._repeat, args=[kind], daemon=True)
            for kind in kinds
        ]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(RUN_SECS + 30)
        self.client.close()

    def _repeat(self, kind: Any) -> None:
        try:
            while not self._over.is_set():
                thread_id = self.client.thread()
                run_id = self.client.run(thread_id)
                self.runs.append((thread_id, run_id))
                kind(thread_id, run_id)
        except Exception as exc:
            self.failures.append(repr(exc))

    def _stream(self, thread_id: str, run_id: str) -> None:
        self.streams[run_id] = self.client.stream(thread_id, run_id)

    def _wait(self, thread_id: str, run_id: str) -> None:
        path = f"/threads/{thread_id}/runs/{run_id}/join"
        values = self.client.call("GET", path)
        if values.get("log") != STEPS:
            self.failures.append(f"{run_id}: {values}")


def _misses_something(events: list[tuple[str, str, Any]]) -> bool:
    """Whether a stream has a gap, a repeated event, or not all steps of its attempts."""
    numbers = [
        tuple(map(int, id.split("-"))) for id, name, _ in events if name != "end"
    ]
    steps = [data["step"] for _, name, data in events if name == "custom"]
    attempts = [data["attempt"] for _, name, data in events if name == "metadata"]
    ascends = all(one < other for one, other in pairwise(numbers))
    # A later attempt begins with the step that was interrupted, or the one before it.
    is_whole = Counter(steps).keys() == {1, 2, 3, 4, 5} and steps[-1] == 5
    is_once = len(steps) == 5 or len(attempts) > 1
    return not (ascends and is_whole and is_once)


def test_no_restart_of_any_part_loses_a_run(
    deployment: Deployment, tmp_path: Path
) -> None:
    key = deployment.run("manage", "create_api_key", "alice").strip()
    cron = {
        "assistant_id": "echo",
        "schedule": EVERY_SECOND,
        "input": {"messages": []},
        "on_run_completed": "keep",
    }

    with Load(deployment, key, tmp_path) as load:
        cron_id = load.client.call("POST", "/runs/crons", cron)["cron_id"]
        for number in (signal.SIGTERM, signal.SIGKILL):
            for name in PARTS:
                deployment.restart(name, number)
                time.sleep(1)
        load.client.call("PATCH", f"/runs/crons/{cron_id}", {"enabled": False})
    active = "SELECT count(*) FROM runs WHERE status IN ('pending', 'running')"
    wait_until(lambda: deployment.rows(active) == [(0,)])

    assert load.failures == []
    assert len(load.runs) > 20
    found = deployment.rows(
        "SELECT thread_id::text, id::text, status FROM runs WHERE graph_id = 'steps'"
    )
    # Each run has one row, and there are no others.
    assert sorted(found) == sorted((*ids, "success") for ids in load.runs)
    states = deployment.rows(
        "SELECT \"values\" -> 'log' FROM threads WHERE values ? 'log'"
    )
    assert states == [(STEPS,)] * len(load.runs)
    broken = [events for events in load.streams.values() if _misses_something(events)]
    assert broken == []
    firings = deployment.rows(
        "SELECT slot, status FROM cron_firings WHERE cron_id = %s", cron_id
    )
    assert {status for _, status in firings} == {"success"}
    made = "SELECT count(*) FROM runs WHERE graph_id = 'echo'"
    assert deployment.rows(made) == [(len(firings),)]
    assert len(firings) > 20
