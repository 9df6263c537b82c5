"""Streams of the official server, replayed: the same events, in the same order.

Each recording has the request, and the events as `wire.normalised` returns them.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from spool.tests.company import hold
from spool.tests.compat.wire import (
    Event,
    normalised,
    parse,
    recorded,
    without,
    without_end,
)
from spool.tests.live import WAIT_SECS, Server

RECORDINGS = Path(__file__).parent / "recordings"
# Recordings of parallel tasks, whose events come in the order in which they finish.
PARALLEL = {"par_values"}

pytestmark = pytest.mark.e2e


def recording(name: str) -> dict[str, Any]:
    return recorded(f"recordings/{name}")


@pytest.fixture
def client(server: Server) -> Any:
    with httpx.Client(base_url=server.url, timeout=WAIT_SECS) as client:
        yield client


def new_thread(client: httpx.Client) -> str:
    thread_id: str = client.post("/threads", json={}).json()["thread_id"]
    return thread_id


def play(client: httpx.Client, thread_id: str, name: str) -> list[Event]:
    """Send the recorded request, after the request that it follows."""
    played = recording(name)
    if "after" in played:
        play(client, thread_id, played["after"])
    path = played["path"].format(thread_id=thread_id)
    response = client.post(path, json=played["body"])
    assert response.status_code == 200
    return parse(response.text)


@pytest.mark.parametrize("name", sorted(path.stem for path in RECORDINGS.glob("*")))
def test_a_recorded_stream_comes_out_the_same(client: httpx.Client, name: str) -> None:
    events = without_end(play(client, new_thread(client), name))

    # Compare texts, whose difference is easier to read.
    found, expected = _lines(normalised(events)), _lines(recording(name)["events"])
    if name in PARALLEL:
        found, expected = sorted(found), sorted(expected)
    assert found == expected


def test_a_recorded_cancel_comes_out_the_same(client: httpx.Client, file: Path) -> None:
    recorded_cancel = recorded("other_recordings/cancel_interrupt_mid")
    # The steps of the recording; here, the second one waits for the cancel.
    hold(file, "2")
    given = {"file": str(file), "delay": 0}
    body = {**recorded_cancel["body"], "assistant_id": "steps", "input": given}
    pieces: list[str] = []

    path = recorded_cancel["path"].format(thread_id=new_thread(client))
    with client.stream("POST", path, json=body) as response:
        for piece in response.iter_text():
            pieces.append(piece)
            if len(parse("".join(pieces))) == recorded_cancel["cancel_after"]:
                run = response.headers["content-location"]
                client.post(f"{run}/cancel").raise_for_status()

    found = without(normalised(without_end(parse("".join(pieces)))), *given)
    assert found == without(recorded_cancel["events"], "delay")


def test_the_frames_are_the_official_ones(client: httpx.Client) -> None:
    thread_id = new_thread(client)
    body = recording("multi_resumable")["body"]

    response = client.post(f"/threads/{thread_id}/runs/stream", json=body)

    content_type = response.headers["content-type"]
    assert content_type == "text/event-stream; charset=utf-8"
    assert response.headers["cache-control"] == "no-store"
    assert response.headers["x-accel-buffering"] == "no"
    run = response.headers["content-location"]
    assert run.startswith(f"/threads/{thread_id}/runs/")
    assert response.headers["location"] == f"{run}/stream"
    first = response.text.split("\r\n\r\n")[0].split("\r\n")
    assert [line.split(":")[0] for line in first] == ["event", "data", "id"]
    assert first[0] == "event: metadata"
    assert first[1].startswith('data: {"run_id":"')


def test_a_resumable_run_can_be_joined_again_and_again(client: httpx.Client) -> None:
    thread_id = new_thread(client)
    body = {
        "assistant_id": "slow",
        "input": {"delay": 0.05},
        "stream_mode": ["values", "custom"],
        "stream_resumable": True,
    }
    response = client.post(f"/threads/{thread_id}/runs/stream", json=body)
    live = parse(response.text)
    path = f"{response.headers['content-location']}/stream"

    def joined_after(event_id: str) -> list[Event]:
        headers = {"Last-Event-ID": event_id}
        return parse(client.get(path, headers=headers).text)

    assert [event.name for event in without_end(live)] == [
        "metadata",
        "values",
        *["custom", "values"] * 5,
    ]
    assert joined_after("-1") == joined_after("0") == live
    assert live[4].id is not None
    assert joined_after(live[4].id) == live[5:]


def _lines(events: list[list[Any]]) -> list[str]:
    return [json.dumps(event, sort_keys=True) for event in events]
