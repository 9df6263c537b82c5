"""Calls from inside, on a worker with one slot: a run that waits must not block it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from langgraph_sdk import get_client
from langgraph_sdk.client import LangGraphClient
from langgraph_sdk.errors import NotFoundError

from spool.tests.live import WAIT_SECS, Server, serving

pytestmark = pytest.mark.e2e

CONFIG = Path(__file__).parents[1] / "graphs" / "inside.langgraph.json"


@pytest.fixture(scope="module")
def one_slot() -> Iterator[Server]:
    with serving(
        CONFIG,
        N_JOBS_PER_WORKER="1",
        SPOOL_MAX_WAITING_RUNS="3",
        # A run that is stuck only fails its own test, and doesn't block the others.
        BG_JOB_TIMEOUT_SECS="60",
        # The SDK sends this key with each request.
        LANGSMITH_API_KEY="of another service",
    ) as server:
        yield server


def headers(name: str) -> dict[str, str]:
    return {"Authorization": f"Bearer token-of-{name}"}


@pytest.fixture
async def alice(one_slot: Server) -> AsyncIterator[LangGraphClient]:
    async with get_client(url=one_slot.url, headers=headers("alice")) as client:
        yield client


@pytest.fixture
async def bob(one_slot: Server) -> AsyncIterator[LangGraphClient]:
    async with get_client(url=one_slot.url, headers=headers("bob")) as client:
        yield client


async def call(client: LangGraphClient, do: str, given: Any = None) -> Any:
    answer: Any = await client.runs.wait(
        None, "caller", input={"do": do, "given": given}
    )
    return answer["out"]


async def test_a_run_waits_for_another(alice: LangGraphClient) -> None:
    assert (await call(alice, "wait", "hi"))["out"] == "HI"


async def test_a_run_waits_for_several_at_once(alice: LangGraphClient) -> None:
    given = ["a", "b", "c", "d", "e"]

    assert await call(alice, "wait_together", given) == ["A", "B", "C", "D", "E"]


async def test_a_run_schedules_another(alice: LangGraphClient) -> None:
    thread_id = await call(alice, "schedule")
    [run] = await alice.runs.list(thread_id)

    assert await alice.runs.join(thread_id, run["run_id"]) == {
        "given": "later",
        "out": "LATER",
    }


async def test_a_run_streams_another_as_it_goes(alice: LangGraphClient) -> None:
    # The streamed run ends only when its caller has seen its first event.
    assert await call(alice, "stream") == ["the first event", "held on"]


async def test_a_tool_that_is_a_plain_function_calls(alice: LangGraphClient) -> None:
    assert await call(alice, "use_tool", "hi") == "HI"


async def test_a_run_reaches_what_its_user_may(
    alice: LangGraphClient, bob: LangGraphClient
) -> None:
    thread = await alice.threads.create()
    seen = await call(alice, "reach", thread["thread_id"])

    assert seen["metadata"] == {"owner": "alice"}
    assert await call(bob, "reach", thread["thread_id"]) == 404


async def test_what_a_run_makes_is_its_users(
    alice: LangGraphClient, bob: LangGraphClient
) -> None:
    thread_id = await call(alice, "schedule")

    metadata: Any = (await alice.threads.get(thread_id))["metadata"]
    assert metadata["owner"] == "alice"
    with pytest.raises(NotFoundError):
        await bob.threads.get(thread_id)


async def test_runs_wait_for_each_other_up_to_a_limit(alice: LangGraphClient) -> None:
    assert await call(alice, "nest", 3) == 3

    failed: Any = await alice.runs.wait(
        None, "caller", input={"do": "nest", "given": 9}, raise_error=False
    )

    assert "__error__" in failed
    # All slots have been given back.
    assert await call(alice, "nest", 3) == 3


async def test_a_run_can_not_wait_for_its_own_thread(alice: LangGraphClient) -> None:
    thread_id = (await alice.threads.create())["thread_id"]
    given = {"do": "wait_for_itself", "given": thread_id}
    answer: Any = await alice.runs.wait(thread_id, "caller", input=given)

    assert len(answer["out"]) == 2
    assert all("409" in text for text in answer["out"])
    assert len(await alice.runs.list(thread_id)) == 1


def test_a_lifespan_acts_as_the_system(one_slot: Server) -> None:
    made = httpx.get(f"{one_slot.url}/made-by-lifespan", timeout=WAIT_SECS).json()
    read = httpx.get(
        f"{one_slot.url}/threads/{made['thread_id']}",
        headers=headers("alice"),
        timeout=WAIT_SECS,
    )

    assert made["seen"] >= 1
    assert read.status_code == 404


async def test_a_route_acts_as_its_caller(
    alice: LangGraphClient, one_slot: Server
) -> None:
    thread_id = (await alice.threads.create())["thread_id"]
    url = f"{one_slot.url}/my/threads/{thread_id}"

    def read(**given: str) -> Any:
        return httpx.get(url, headers=given, timeout=WAIT_SECS).json()

    assert read(**headers("alice"))["thread_id"] == thread_id
    assert read(**headers("bob")) == {"refused": 404}
    assert read() == {"refused": 401}
    forged = {"x-spool-origin": "system", "spool.origin": "system"}
    assert read(**forged) == {"refused": 401}


def test_a_route_streams_a_run(one_slot: Server) -> None:
    parts = httpx.get(
        f"{one_slot.url}/chat", headers=headers("alice"), timeout=WAIT_SECS
    )

    assert parts.text.splitlines() == ["metadata", "values", "values", "end"]
