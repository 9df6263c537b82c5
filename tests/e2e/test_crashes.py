"""Whichever process dies, an accepted run ends exactly once; viewers miss nothing."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis
from langgraph_sdk import get_client

from spool.tests import company
from spool.tests.compat.wire import Event, parse
from spool.tests.conftest import CONFIG
from spool.tests.live import WAIT_SECS, Server, serving, wait_until

pytestmark = pytest.mark.e2e

SLOTS = 5
# The lease doesn't expire in any test: losses must be noticed without it.
ENVIRONMENT = {"N_JOBS_PER_WORKER": str(SLOTS), "WORKER_LEASE_SECS": "600"}


@pytest.fixture(scope="module")
def crashing() -> Iterator[Server]:
    """A separate server, not the one that tests share: these tests kill parts of it."""
    with serving(CONFIG, workers=1, **ENVIRONMENT) as server:
        yield server


@pytest.fixture
async def client(crashing: Server) -> AsyncIterator[Any]:
    crashing.wait_until_ready()
    async with get_client(url=crashing.url, timeout=60) as client:
        yield client


def begun(file: Path) -> list[str]:
    """The number of each step that has begun, in order."""
    return [words[0] for words in company.begun(file)]


async def until(condition: Any) -> None:
    await asyncio.to_thread(wait_until, condition)


async def test_a_web_process_that_is_told_to_stop_takes_no_run_with_it(
    client: Any, crashing: Server, tmp_path: Path
) -> None:
    """Its clients have not left: they reconnect to the next web process."""
    file = tmp_path / "steps"
    let_go = company.hold(file, "2")
    thread = await client.threads.create()
    body = {
        "assistant_id": "steps",
        "input": {"file": str(file), "delay": 0},
        "on_disconnect": "cancel",
    }
    path = f"{crashing.url}/threads/{thread['thread_id']}/runs/stream"
    async with (
        httpx.AsyncClient(timeout=WAIT_SECS) as http,
        http.stream("POST", path, json=body) as cut,
    ):
        await until(lambda: "2" in begun(file))

        crashing.web().terminate()
        with pytest.raises(httpx.RemoteProtocolError):
            [part async for part in cut.aiter_bytes()]
    await asyncio.to_thread(crashing.wait_until_ready)
    let_go()

    [run] = await client.runs.list(thread["thread_id"])
    values = await client.runs.join(thread["thread_id"], run["run_id"])
    assert values["log"] == [f"step{number}" for number in range(1, 6)]


async def test_a_killed_workers_run_goes_on_where_it_was(
    client: Any, crashing: Server, tmp_path: Path
) -> None:
    file = tmp_path / "steps"
    let_go = company.hold(file, "3")
    thread = await client.threads.create()
    run = await client.runs.create(
        thread["thread_id"],
        "steps",
        input={"file": str(file), "delay": 0},
        durability="sync",  # Otherwise step two may be repeated.
    )
    await until(lambda: "3" in begun(file))

    crashing.worker().kill()
    let_go()
    async with asyncio.timeout(WAIT_SECS):
        values = await client.runs.join(thread["thread_id"], run["run_id"])

    # Steps one and two are not repeated, and the later ones run once.
    counts = Counter(begun(file))
    assert counts == {"1": 1, "2": 1, "3": 2, "4": 1, "5": 1}
    assert values["log"] == [f"step{number}" for number in range(1, 6)]
    runs = await client.runs.list(thread["thread_id"])
    assert [found["status"] for found in runs] == ["success"]
    assert (await client.threads.get(thread["thread_id"]))["status"] == "idle"


async def test_a_viewer_of_a_killed_web_process_misses_nothing(
    client: Any, crashing: Server
) -> None:
    thread = await client.threads.create()
    run = await client.runs.create(
        thread["thread_id"],
        "slow",
        input={"delay": 0.6},
        stream_mode=["values", "custom"],
        stream_resumable=True,
    )
    path = f"/threads/{thread['thread_id']}/runs/{run['run_id']}/stream"

    async with httpx.AsyncClient(base_url=crashing.url, timeout=WAIT_SECS) as http:
        seen = await view(http, path, "0", kill_after=3, server=crashing)
        await asyncio.to_thread(crashing.wait_until_ready)
        assert seen[-1].id is not None
        seen += await view(http, path, seen[-1].id)
        replayed = await view(http, path, "0")

    assert [event.name for event in seen][:3] == ["metadata", "values", "custom"]
    assert [event.data for event in seen if event.name == "custom"] == [
        {"step": number} for number in range(1, 6)
    ]
    assert seen == replayed


async def view(
    http: httpx.AsyncClient,
    path: str,
    last_event_id: str,
    kill_after: int | None = None,
    server: Server | None = None,
) -> list[Event]:
    """The events of the stream until it ends or breaks off."""
    text = ""
    headers = {"Last-Event-ID": last_event_id}
    try:
        async with http.stream("GET", path, headers=headers) as response:
            async for piece in response.aiter_text():
                text += piece
                if server and kill_after and len(parse(text)) >= kill_after:
                    server.web().kill()
                    server = None
    except httpx.RemoteProtocolError:
        assert kill_after is not None, "the stream broke off"
    return parse(text)


async def test_runs_outlive_an_emptied_redis(
    client: Any, crashing: Server, tmp_path: Path
) -> None:
    # More runs than the worker has slots, so that some are still pending.
    threads = [await client.threads.create() for _ in range(SLOTS + 4)]
    thread_ids = [thread["thread_id"] for thread in threads]
    file = tmp_path / "steps"
    let_go = company.hold(file, "1")

    async def create(thread_id: str) -> str:
        body = {"file": str(file), "delay": 0}
        run = await client.runs.create(thread_id, "steps", input=body)
        return str(run["run_id"])

    run_ids = [await create(thread_id) for thread_id in thread_ids]
    await until(lambda: len(begun(file)) == SLOTS)
    waiting = asyncio.create_task(client.runs.join(thread_ids[0], run_ids[0]))

    with redis.Redis.from_url(crashing.environment()["REDIS_URL"]) as server:
        before = [
            await status(client, *ids) for ids in zip(thread_ids, run_ids, strict=True)
        ]
        server.flushall()
    let_go()
    async with asyncio.timeout(WAIT_SECS):
        for ids in zip(thread_ids, run_ids, strict=True):
            while await status(client, *ids) in {"pending", "running"}:
                await asyncio.sleep(0.2)
        joined = await waiting

    after = [
        await status(client, *ids) for ids in zip(thread_ids, run_ids, strict=True)
    ]
    assert {"pending", "running"} <= set(before)
    assert set(after) == {"success"}
    assert joined["log"] == [f"step{number}" for number in range(1, 6)]
    # Nothing was run twice.
    assert Counter(begun(file)) == {str(number): SLOTS + 4 for number in range(1, 6)}


async def status(client: Any, thread_id: str, run_id: str) -> str:
    return str((await client.runs.get(thread_id, run_id))["status"])
