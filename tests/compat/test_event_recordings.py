"""Event streams of the official server, replayed: the same events, and no others.

Only the channels of the recording are compared. Our server has more channels, so
numbers differ; and it sends the end of a run last, while the official one may send
values after it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from spool.tests.compat.streaming import Socket, Thread, after, ends_run
from spool.tests.compat.wire import Event, normalised, recorded
from spool.tests.live import Server

RECORDINGS = Path(__file__).parent / "event_recordings"
CHOICE = ("channels", "namespaces", "depth")
RUN = ("assistant_id", "input", "config")

pytestmark = pytest.mark.e2e


def play(thread: Thread, recording: dict[str, Any]) -> list[dict[str, Any]]:
    chosen = {key: recording[key] for key in CHOICE if key in recording}
    run = {key: recording[key] for key in RUN if key in recording}
    assert thread.command("run.start", **run)["type"] == "success"
    channels = [*chosen.pop("channels"), "lifecycle"]
    runs = 1
    if "response" in recording:
        [asked] = thread.events(["input"], lambda event: True)
        answer = {"response": recording["response"], "namespace": []}
        named = {"interrupt_id": asked["params"]["data"]["interrupt_id"]}
        answered = thread.command("input.respond", **named, **answer)
        assert answered["type"] == "success", answered
        runs = 2
    found = thread.events(channels, after(runs), **chosen)
    # The official server didn't send this event yet when it was recorded.
    found = [one for one in found if one["method"] != "input.answered"]
    return [one for one in found if _channel(one) in recording["channels"]]


def play_on_a_socket(server: Server, recording: dict[str, Any]) -> list[dict[str, Any]]:
    thread_id = Thread(httpx.Client()).id
    with Socket(server.url, thread_id) as socket:
        subscribed = socket.command(
            "subscription.subscribe", channels=recording["channels"]
        )
        started = socket.command(
            "run.start", **{key: recording[key] for key in RUN if key in recording}
        )
        assert subscribed["type"] == started["type"] == "success"
        return socket.until()


def _channel(event: dict[str, Any]) -> str:
    return str(event["method"]).partition(".")[0]


def _wire(event: dict[str, Any]) -> Event:
    """The parts of an event that are the same each time."""
    params = event["params"]
    data = {"namespace": params["namespace"], "data": params["data"]}
    if event["event_id"].startswith("synth") and not params["namespace"]:
        data["event_id"] = event["event_id"]
    if event["method"] == "messages":
        for name in ("run_id", "node"):  # Clients tell parallel messages apart by them.
            params["data"].pop(name, None)
    if event["method"] == "input.requested":
        assert params["data"].pop("value") == params["data"]["payload"]
    return Event(event["method"], data)


def _ends_last(events: list[Any]) -> list[Any]:
    """Sort each run's interrupts and its end after its values."""
    ordered: list[Any] = []
    run: list[Any] = []
    for name, data in events:
        is_start = name == "lifecycle" and data["data"]["event"] == "running"
        if is_start:
            ordered += sorted(run, key=_is_end)
            run = []
        run.append([name, data])
    return ordered + sorted(run, key=_is_end)


def _is_end(event: list[Any]) -> int:
    name, data = event
    if name == "input.requested":
        return 1
    return 2 * ends_run({"method": name, "params": data})


@pytest.mark.parametrize("name", sorted(path.stem for path in RECORDINGS.glob("*")))
def test_recorded_events_come_again(
    server: Server, sync_http: httpx.Client, name: str
) -> None:
    recording = recorded(f"event_recordings/{name}")

    if recording.get("transport") == "websocket":
        events = play_on_a_socket(server, recording)
    else:
        events = play(Thread(sync_http), recording)[recording.get("skip", 0) :]

    numbers = [event["seq"] for event in events]
    assert numbers == sorted(set(numbers))
    # Compare texts, whose difference is easier to read.
    expected = json.dumps(_ends_last(recording["events"]), indent=1)
    assert json.dumps(_ends_last(normalised(list(map(_wire, events)))), indent=1) == (
        expected
    )
