"""Joining a run that another request has created: all its events, the rest, or none."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from spool.tests.company import STEPS, hold
from spool.tests.compat.wire import Event, normalised, parse, recorded, without_end
from spool.tests.live import WAIT_SECS, Server

MODES = ["values", "custom"]
HEARTBEAT = ": heartbeat\r\n\r\n"

pytestmark = pytest.mark.e2e


@pytest.fixture
async def runs(http: httpx.AsyncClient) -> str:
    """The path of a new thread's runs."""
    thread = (await http.post("/threads", json={})).json()
    return f"/threads/{thread['thread_id']}/runs"


async def start(http: httpx.AsyncClient, runs: str, **body: Any) -> str:
    """Create a run, of five short steps unless the body names another graph.

    Return its path.
    """
    given = {"assistant_id": "slow", "input": {"delay": 0}, "stream_mode": MODES}
    run = (await http.post(runs, json={**given, **body})).json()
    return f"{runs}/{run['run_id']}"


async def start_held(
    http: httpx.AsyncClient, runs: str, file: Path, **body: Any
) -> str:
    """Create a run that streams each step, and waits where a test holds it.

    Return its path.
    """
    given = {"assistant_id": "steps", "input": {"file": str(file), "delay": 0}}
    return await start(http, runs, **{**given, **body})


@asynccontextmanager
async def joining(
    http: httpx.AsyncClient, run: str, after: str | None = None
) -> AsyncIterator[list[Event]]:
    """A stream of a run that is open during the block; it then has its events."""
    events: list[Event] = []
    headers = {"Last-Event-ID": after} if after else {}
    async with http.stream("GET", f"{run}/stream", headers=headers) as response:
        assert response.status_code == 200
        yield events
        events += parse((await response.aread()).decode())


async def joined(
    http: httpx.AsyncClient, run: str, after: str | None = None, **query: Any
) -> list[Event]:
    headers = {"Last-Event-ID": after} if after else {}
    response = await http.get(f"{run}/stream", headers=headers, params=query)
    assert response.status_code == 200
    return parse(response.text)


def names(events: list[Event]) -> list[str]:
    return [event.name for event in without_end(events)]


async def status(http: httpx.AsyncClient, run: str) -> str:
    return str((await http.get(run)).json()["status"])


async def has_said(http: httpx.AsyncClient, run: str, step: int) -> None:
    """Wait until the run has streamed this step to a separate viewer."""
    async with http.stream(
        "GET", f"{run}/stream", headers={"Last-Event-ID": "0"}
    ) as response:
        text = ""
        async for piece in response.aiter_text():
            text += piece
            if {"step": step} in [event.data for event in parse(text)]:
                return


# --- As the official server lets clients join -----------------------------------------
async def test_recorded_joins_come_out_the_same(
    http: httpx.AsyncClient, runs: str
) -> None:
    whole = recorded("other_recordings/join_resumable")
    rest = recorded("other_recordings/join_last_event_id")
    # Join before the run begins, as in the recording.
    first = await start(http, runs, input={"delay": 30})
    run = await start(http, runs, **whole["body"])

    async with joining(http, run) as seen:
        rolled_back = await http.post(f"{first}/cancel?action=rollback")
    later = await joined(http, run, after=seen[3].id)

    assert rolled_back.status_code == 202
    assert normalised(without_end(seen)) == whole["events"]
    assert normalised(without_end(later)) == rest["events"]
    assert [event.id for event in later] == [event.id for event in seen[4:]]


# --- While it runs ------------------------------------------------------------------
async def test_a_viewer_without_a_place_gets_only_what_is_to_come(
    http: httpx.AsyncClient, runs: str, file: Path
) -> None:
    let_go = hold(file, "2")
    run = await start_held(http, runs, file, stream_resumable=True)
    await has_said(http, run, 2)

    async with joining(http, run) as events:
        let_go()

    steps = [event.data["step"] for event in events if event.name == "custom"]
    assert steps == [3, 4, 5]
    assert events[-1].name == "end"
    # A client can reconnect with its ids.
    assert await joined(http, run, after=events[0].id) == events[1:]


async def test_several_viewers_see_the_same(http: httpx.AsyncClient, runs: str) -> None:
    run = await start(http, runs, stream_resumable=True)

    views = await asyncio.gather(*(joined(http, run, after="0") for _ in range(5)))

    assert all(view == views[0] for view in views)
    assert names(views[0])[:3] == ["metadata", "values", "custom"]
    assert len(views[0]) == 13


async def test_without_resumable_there_are_no_ids(
    http: httpx.AsyncClient, runs: str, file: Path
) -> None:
    let_go = hold(file, "1")
    run = await start_held(http, runs, file)

    async with joining(http, run) as events:
        let_go()

    assert {event.id for event in events} == {None}


@pytest.mark.parametrize(
    ("query", "seen"),
    [
        ({"stream_mode": "custom"}, {"custom"}),
        ({"stream_mode": '["custom","values"]'}, {"custom", "values"}),
        # The official server uses only the last mode, which breaks its own SDK's list.
        ({"stream_mode": ["custom", "values"]}, {"custom", "values"}),
        ({"stream_mode": ""}, {"metadata", "custom", "values"}),
        ({}, {"metadata", "custom", "values"}),
    ],
)
async def test_modes_can_be_chosen_when_joining(
    http: httpx.AsyncClient, runs: str, query: dict[str, Any], seen: set[str]
) -> None:
    run = await start(http, runs, stream_resumable=True)

    events = await joined(http, run, after="0", **query)

    assert set(names(events)) == seen
    assert events[-1].name == "end"


async def test_who_comes_back_finds_the_query_in_the_location(
    http: httpx.AsyncClient, runs: str
) -> None:
    """The Python client requests `Location`, without its original query."""
    run = await start(http, runs)

    async def location(path: str) -> str:
        response = await http.get(f"{run}/{path}")
        return response.headers["location"].removeprefix(f"{run}/")

    plain, chosen = "stream", "stream?stream_mode=custom&cancel_on_disconnect=true"
    assert await location(plain) == plain
    assert await location(chosen) == await location(await location(chosen)) == chosen
    assert await location("join?cancel_on_disconnect=1") == (
        "join?cancel_on_disconnect=true"
    )
    assert await location("join?cancel_on_disconnect=0") == "join"


@pytest.mark.parametrize("mode", ["messages", "messages-tuple"])
async def test_messages_can_be_chosen_when_joining(
    http: httpx.AsyncClient, runs: str, mode: str
) -> None:
    body = {"assistant_id": "chat", "stream_mode": ["values", mode]}
    run = await start(http, runs, input={"messages": []}, stream_resumable=True, **body)

    events = await joined(http, run, after="0", stream_mode=mode)

    kinds = {name.partition("/")[0] for name in names(events)}
    assert kinds == {"messages"}


@pytest.mark.parametrize("kind", ["stream", "join"])
@pytest.mark.parametrize(
    ("query", "expected"),
    [("1", "interrupted"), ("true", "interrupted"), ("0", "success"), ("", "success")],
)
async def test_a_joiner_may_take_the_run_along(
    http: httpx.AsyncClient,
    runs: str,
    file: Path,
    kind: str,
    query: str,
    expected: str,
) -> None:
    if expected == "interrupted":
        hold(file, "2")
    given = {"file": str(file), "delay": 0.1}
    run = await start_held(http, runs, file, input=given, stream_resumable=True)
    params = {"cancel_on_disconnect": query} if query else {}

    async with http.stream("GET", f"{run}/{kind}", params=params) as response:
        assert response.status_code == 200
        await has_said(http, run, 1)
    async with asyncio.timeout(WAIT_SECS):
        while await status(http, run) in ("pending", "running"):
            await asyncio.sleep(0.1)

    assert await status(http, run) == expected


@pytest.mark.parametrize("kind", ["stream", "wait"])
async def test_a_client_that_leaves_at_any_moment_cancels_the_run(
    server: Server, http: httpx.AsyncClient, kind: str
) -> None:
    threads = [(await http.post("/threads", json={})).json() for _ in range(16)]
    runs = [f"/threads/{thread['thread_id']}/runs" for thread in threads]
    body = {"assistant_id": "slow", "input": {"delay": 30}, "on_disconnect": "cancel"}
    content = json.dumps(body).encode()

    for number, path in enumerate(runs):
        head = f"POST {path}/{kind} HTTP/1.1\r\nHost: localhost\r\n"
        length = f"Content-Length: {len(content)}\r\n\r\n"
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(head.encode() + length.encode() + content)
        await writer.drain()
        if path == runs[-1]:
            await reader.readuntil(b"\r\n\r\n")
        else:
            await asyncio.sleep(number * 0.004)
        writer.transport.abort()

    statuses = [await ended_before(http, path) for path in runs]
    # A client that disconnects before the request is read creates no run.
    assert {tuple(found) for found in statuses} <= {(), ("interrupted",)}
    assert statuses[-1] == ["interrupted"]


async def ended_before(http: httpx.AsyncClient, runs: str) -> list[str]:
    """The statuses of a thread's runs, once another run, created now, has ended."""
    last = {"assistant_id": "slow", "input": {"delay": 0}}
    (await http.post(f"{runs}/wait", json=last)).raise_for_status()
    _, *before = (await http.get(runs)).json()
    return [run["status"] for run in before]


async def test_streams_and_waits_show_that_they_are_alive(
    http: httpx.AsyncClient, runs: str, file: Path
) -> None:
    let_go = hold(file, "1")
    run = await start_held(http, runs, file)

    async def read(kind: str, sign: str) -> str:
        async with http.stream("GET", f"{run}/{kind}") as response:
            pieces, text = response.aiter_text(), ""
            while sign not in text:
                text += await anext(pieces)
            shown.append(kind)
            if len(shown) == 2:
                let_go()
            return text + "".join([piece async for piece in pieces])

    shown: list[str] = []
    stream, join = await asyncio.gather(read("stream", HEARTBEAT), read("join", "\n"))

    assert HEARTBEAT in stream
    assert parse(stream)[-1].name == "end"
    assert join.startswith("\n")
    assert json.loads(join)["log"] == STEPS


# --- Afterwards -----------------------------------------------------------------------
async def test_a_run_that_is_over_has_nothing_to_come(
    http: httpx.AsyncClient, runs: str
) -> None:
    run = await start(http, runs)
    await http.get(f"{run}/join")

    assert names(await joined(http, run)) == []
    response = await http.get(f"{run}/stream", headers={"Last-Event-ID": "junk"})
    assert (response.status_code, response.text) == (200, "")


async def test_what_a_join_answers_with(http: httpx.AsyncClient, runs: str) -> None:
    fine = await start(http, runs)
    values = (await http.get(f"{fine}/join")).json()
    failing = await start(http, runs, assistant_id="raises", input={})
    error = (await http.get(f"{failing}/join")).json()
    waiting = await start(http, runs, assistant_id="human", input={"topic": "x"})
    asked = (await http.get(f"{waiting}/join")).json()

    assert len(values["log"]) == 5
    assert error == {"__error__": {"error": "ValueError", "message": "boom happened"}}
    assert set(asked["__interrupt__"][0]) == {"id", "value", "response_schema"}
    # The thread's current values, not those after the run.
    assert (await http.get(f"{fine}/join")).json()["topic"] == "x"


# --- Cancelled --------------------------------------------------------------------------
@pytest.mark.parametrize("action", ["interrupt", "rollback"])
async def test_a_cancel_that_waits_answers_when_the_worker_has_stopped(
    http: httpx.AsyncClient, runs: str, file: Path, action: str
) -> None:
    hold(file, "2")
    run = await start_held(http, runs, file, stream_resumable=True)
    await has_said(http, run, 2)

    async with joining(http, run, after="0") as events:
        response = await http.post(f"{run}/cancel?wait=1&action={action}")
    found = await http.get(run)
    thread = (await http.get(runs.removesuffix("/runs"))).json()

    assert (response.status_code, response.text.strip()) == (200, "{}")
    assert response.headers["content-location"] == run
    assert found.status_code == {"interrupt": 200, "rollback": 404}[action]
    assert thread["status"] == {"interrupt": "interrupted", "rollback": "idle"}[action]
    # No error event: the stream just ends.
    assert "error" not in names(events)
    assert events[-1].name == "end"


async def test_a_cancel_that_does_not_wait_answers_at_once(
    http: httpx.AsyncClient, runs: str
) -> None:
    run = await start(http, runs, input={"delay": 30})
    async with http.stream("GET", f"{run}/join") as joined_values:
        response = await http.post(f"{run}/cancel")
        await joined_values.aread()

    assert (response.status_code, response.content) == (202, b"")
    assert await status(http, run) == "interrupted"
    assert joined_values.status_code == 200


async def test_a_run_that_is_deleted_while_it_runs_is_stopped(
    http: httpx.AsyncClient, runs: str
) -> None:
    long = {"input": {"delay": 30}, "stream_resumable": True}
    run = await start(http, runs, **long)
    await has_said(http, run, 1)

    async with http.stream("GET", f"{run}/join") as answer:
        deleted = await http.delete(run)
        await answer.aread()
    thread = runs.removesuffix("/runs")
    body = {"assistant_id": "slow", "input": {"delay": 0}}
    again = await http.post(f"{runs}/wait", json=body)

    assert deleted.status_code == 204
    assert answer.status_code == 200
    assert (await http.get(run)).status_code == 404
    # The next run is not affected by it.
    assert again.json()["log"] == STEPS
    assert (await http.get(thread)).json()["status"] == "idle"
