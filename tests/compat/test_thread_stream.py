"""`GET /threads/{id}/stream`: all runs of a thread, as on the official server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from langgraph_sdk import get_client

from spool.tests.compat.wire import Event, normalised, parse
from spool.tests.live import WAIT_SECS, Server

RECORDING = Path(__file__).parent / "thread_recordings" / "slow.json"
FAST = {"assistant_id": "echo", "input": {"messages": []}}

pytestmark = pytest.mark.e2e


@pytest.fixture
async def thread_id(http: httpx.AsyncClient) -> str:
    created = await http.post("/threads", json={})
    return str(created.json()["thread_id"])


class View:
    """A thread's stream, read until a number of runs are done."""

    def __init__(self, http: httpx.AsyncClient, thread_id: str, **query: Any) -> None:
        self._http = http
        self._path = f"/threads/{thread_id}/stream"
        self._query = query

    async def __call__(
        self, runs: int, after: str | None = None, ready: asyncio.Event | None = None
    ) -> list[Event]:
        text = ""
        headers = {"Last-Event-ID": after} if after else {}
        async with self._http.stream(
            "GET", self._path, params=self._query, headers=headers
        ) as response:
            self.headers = response.headers
            if ready:
                ready.set()
            async for piece in response.aiter_text():
                text += piece
                if len(done(parse(text))) >= runs:
                    break
        return parse(text)


def done(events: list[Event]) -> list[str]:
    """The runs that are done according to the stream."""
    return [
        event.data["run_id"]
        for event in events
        if event.name == "metadata" and event.data.get("status") == "run_done"
    ]


async def watched(view: View, http: httpx.AsyncClient, path: str, *bodies: Any) -> Any:
    """What a client sees that opened the stream before these runs were created."""
    [seen] = await all_watched([view], http, path, *bodies)
    return seen


async def all_watched(
    views: list[View], http: httpx.AsyncClient, path: str, *bodies: Any
) -> list[list[Event]]:
    viewing = [await viewed(view, len(bodies)) for view in views]
    for body in bodies:
        (await http.post(path, json=body)).raise_for_status()
    return await asyncio.wait_for(asyncio.gather(*viewing), WAIT_SECS)


async def viewed(view: View, runs: int) -> asyncio.Task[list[Event]]:
    """The events of a stream that is already open when the block begins."""
    ready = asyncio.Event()
    viewing = asyncio.create_task(view(runs, ready=ready))
    await ready.wait()
    return viewing


async def test_a_recorded_thread_comes_out_the_same(
    http: httpx.AsyncClient, thread_id: str
) -> None:
    recorded = json.loads(RECORDING.read_text())
    view = View(http, thread_id)

    path = f"/threads/{thread_id}/runs"
    seen = await watched(view, http, path, recorded["body"])
    replayed = await view(1, after="0")

    assert lines(normalised(seen)) == lines(recorded["events"])
    assert replayed == seen
    assert all(event.id for event in seen)
    assert view.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert view.headers["cache-control"] == "no-store"


def lines(events: list[list[Any]]) -> list[str]:
    return [json.dumps(event, sort_keys=True) for event in events]


async def test_runs_follow_one_another(http: httpx.AsyncClient, thread_id: str) -> None:
    path = f"/threads/{thread_id}/runs"
    views = [View(http, thread_id) for _ in range(2)]

    first, second = await all_watched(views, http, path, FAST, FAST)

    runs = [run["run_id"] for run in (await http.get(path)).json()]
    assert done(first) == runs[::-1]
    assert first == second
    assert "end" not in {event.name for event in first}


async def test_a_viewer_goes_on_where_it_was(
    http: httpx.AsyncClient, thread_id: str
) -> None:
    path = f"/threads/{thread_id}/runs"
    view = View(http, thread_id)
    seen = await watched(view, http, path, FAST)
    await http.post(f"{path}/wait", json=FAST)

    later = await view(1, after=seen[-1].id)
    from_the_middle = await view(2, after=seen[1].id)
    everything = await view(2, after="-")

    assert everything == seen + later
    assert from_the_middle == everything[2:]
    assert done(everything) == [*done(seen), *done(later)]


@pytest.mark.parametrize("name", ["stream_mode", "stream_modes"])
async def test_lifecycle_tells_only_beginnings_and_ends(
    http: httpx.AsyncClient, thread_id: str, name: str
) -> None:
    view = View(http, thread_id, **{name: "lifecycle"})

    seen = await watched(view, http, f"/threads/{thread_id}/runs", FAST)

    assert [event.name for event in seen] == ["metadata", "metadata"]
    assert seen[0].data == {"run_id": done(seen)[0], "attempt": 1}
    assert view.headers["location"] == (
        f"/threads/{thread_id}/stream?stream_modes=lifecycle"
    )


async def test_repeated_modes_are_a_union(
    http: httpx.AsyncClient, thread_id: str
) -> None:
    view = View(http, thread_id, stream_mode=["run_modes", "lifecycle"])

    seen = await watched(view, http, f"/threads/{thread_id}/runs", FAST)

    names = [event.name for event in seen]
    assert names == ["metadata", "values", "values", "metadata"]


async def test_a_run_that_fails_or_is_cancelled_is_done_too(
    http: httpx.AsyncClient, thread_id: str
) -> None:
    path = f"/threads/{thread_id}/runs"
    bodies = [
        {"assistant_id": "raises", "input": {}},
        {"assistant_id": "slow", "input": {"delay": 30}},
    ]
    viewing = await viewed(View(http, thread_id), 2)
    await http.post(f"{path}/wait", json=bodies[0])
    run = (await http.post(path, json=bodies[1])).json()
    await http.post(f"{path}/{run['run_id']}/cancel?wait=1")

    seen = await asyncio.wait_for(viewing, WAIT_SECS)

    assert done(seen)[-1] == run["run_id"]
    assert [event.data for event in seen if event.name == "error"] == [
        {"error": "ValueError", "message": "boom happened"}
    ]


async def test_the_stream_of_a_deleted_thread_ends(
    http: httpx.AsyncClient, thread_id: str
) -> None:
    viewing = await viewed(View(http, thread_id), 1)

    (await http.delete(f"/threads/{thread_id}")).raise_for_status()

    assert await asyncio.wait_for(viewing, WAIT_SECS) == []


async def test_the_sdk_joins_a_thread(server: Server, thread_id: str) -> None:
    async with get_client(url=server.url) as client:
        await client.runs.wait(thread_id, "echo", input={"messages": []})
        stream = await client.threads.join_stream(
            thread_id, last_event_id="0", stream_mode=["lifecycle"]
        )
        seen = [part async for part in _first(stream, 2)]

    assert [part.event for part in seen] == ["metadata", "metadata"]
    assert seen[1].data["status"] == "run_done"


async def _first(stream: Any, count: int) -> AsyncIterator[Any]:
    async for part in stream:
        yield part
        count -= 1
        if count == 0:
            await stream.aclose()
            return


# --- Streams of runs without a thread ---------------------------------------------
async def test_the_location_of_a_stateless_stream_can_be_followed(
    http: httpx.AsyncClient,
) -> None:
    body = {
        "assistant_id": "slow",
        "input": {"delay": 0.05},
        "stream_mode": ["values", "custom"],
        "stream_resumable": True,
    }
    live = await http.post("/runs/stream", json=body)
    location = live.headers["location"]

    replayed = await http.get(location, headers={"Last-Event-ID": "0"})
    run = live.headers["content-location"]

    assert location == f"{run}/stream"
    assert run.startswith("/runs/")
    assert parse(replayed.text) == parse(live.text)
    assert parse(live.text)[-1].name == "end"
