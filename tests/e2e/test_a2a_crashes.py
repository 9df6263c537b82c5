"""A task and its followers continue, whichever process dies."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from a2a.client.errors import A2AClientError
from a2a.types.a2a_pb2 import SendMessageConfiguration, TaskState
from google.protobuf.json_format import MessageToDict

from spool.tests import company
from spool.tests.compat.agents import BINDINGS, Agent, Received, opened
from spool.tests.conftest import CONFIG
from spool.tests.live import Server, serving, wait_until

pytestmark = pytest.mark.e2e

WORKING = TaskState.TASK_STATE_WORKING
COMPLETED = TaskState.TASK_STATE_COMPLETED
NOW = SendMessageConfiguration(return_immediately=True)
ALL_STEPS = [f"step{number}" for number in range(1, 6)]


@pytest.fixture(scope="module")
def crashing() -> Iterator[Server]:
    """A separate server, not the one that tests share: these tests kill parts of it."""
    with serving(CONFIG) as server:
        yield server


@pytest.fixture(params=BINDINGS, ids=str)
async def steps(crashing: Server, request: Any) -> AsyncIterator[Agent]:
    await asyncio.to_thread(crashing.wait_until_ready)
    async with opened(crashing.url, "steps", request.param) as agent:
        yield agent


@pytest.fixture
async def dictating(crashing: Server) -> AsyncIterator[Agent]:
    await asyncio.to_thread(crashing.wait_until_ready)
    async with opened(crashing.url, "dictating", BINDINGS[0]) as agent:
        yield agent


async def begun(file: Path, number: str) -> None:
    """Wait until a step has begun."""

    def is_begun() -> bool:
        return number in [words[0] for words in company.begun(file)]

    await asyncio.to_thread(wait_until, is_begun)


async def followed(agent: Agent, task_id: str, received: Received) -> Received:
    async for event in agent.subscribe(task_id):
        received.add(event)
    return received


async def heard_until(agent: Agent, task_id: str, word: str, then: Any) -> Received:
    """Follow a task to its end; call `then` once it has streamed the word."""
    received = Received()
    async for event in agent.subscribe(task_id):
        received.add(event)
        if word in "".join(received.texts):
            then()
    return received


async def test_a_follower_outlives_the_worker(
    steps: Agent, crashing: Server, tmp_path: Path
) -> None:
    file = tmp_path / "steps"
    let_go = company.hold(file, "2")
    task = await steps.send({"file": str(file), "delay": 0}, configuration=NOW)
    received = Received()
    following = asyncio.create_task(followed(steps, task.id, received))
    await begun(file, "2")
    await asyncio.to_thread(wait_until, lambda: received.states[-1:] == [WORKING])

    crashing.worker().kill()
    let_go()
    await following

    assert received.states[-3:] == [WORKING, WORKING, COMPLETED]
    [[output]] = received.artifacts.values()
    assert MessageToDict(output.data)["log"] == ALL_STEPS


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=str)
async def test_a_follower_comes_back_after_the_web_process(
    dictating: Agent, crashing: Server, tmp_path: Path, number: signal.Signals
) -> None:
    """A cut stream has no clean end, since that would mean that it is complete."""
    gate = tmp_path / "gate"
    gate.touch()
    said = f"{gate} one two"
    task = await dictating.send(said, configuration=NOW)
    web = crashing.web()

    with pytest.raises((A2AClientError, httpx.HTTPError)):
        await heard_until(dictating, task.id, "one", lambda: web.send_signal(number))
    await asyncio.to_thread(wait_until, lambda: not web.is_running())
    await asyncio.to_thread(crashing.wait_until_ready)
    received = await heard_until(
        dictating, task.id, "one", lambda: gate.unlink(missing_ok=True)
    )

    assert received.states[-1] == COMPLETED
    assert received.texts == [f"{said} "]
