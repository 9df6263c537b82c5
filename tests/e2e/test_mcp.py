"""MCP calls whose web process or worker is killed."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mcp import Client
from mcp_types import (
    CallToolResult,
    ElicitResult,
    InputRequiredResult,
    InputResponses,
)

from spool.tests.company import STEPS, hold
from spool.tests.conftest import CONFIG
from spool.tests.live import Server, serving

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def own_server() -> Iterator[Server]:
    with serving(CONFIG) as server:
        yield server


def connect(server: Server, mode: str) -> Client:
    async def elicit(context: Any, params: Any) -> ElicitResult:
        return ElicitResult(action="accept", content={"response": "yes"})

    return Client(f"{server.url}/mcp", mode=mode, elicitation_callback=elicit)


async def test_an_answer_reaches_a_run_whose_web_process_is_gone(
    own_server: Server,
) -> None:
    async with connect(own_server, "2026-07-28") as client:
        asked = await client.session.call_tool(
            "human", {"topic": "tea"}, allow_input_required=True
        )
    assert isinstance(asked, InputRequiredResult)

    own_server.web().kill()
    await asyncio.to_thread(own_server.wait_until_ready)

    answers: InputResponses = {
        key: ElicitResult(action="accept", content={"response": "yes"})
        for key in asked.input_requests or {}
    }
    async with connect(own_server, "2026-07-28") as client:
        result = await client.session.call_tool(
            "human",
            {"topic": "tea"},
            input_responses=answers,
            request_state=asked.request_state,
        )
    assert isinstance(result, CallToolResult)
    assert result.structured_content["answer"] == "yes"


@pytest.mark.parametrize("mode", ["2026-07-28", "legacy"])
async def test_a_call_outlives_its_worker(
    own_server: Server, mode: str, file: Path
) -> None:
    let_go = hold(file, "2")
    has_begun = asyncio.Event()

    async def report(progress: float, total: float | None, message: str | None) -> None:
        has_begun.set()

    async with connect(own_server, mode) as client:
        arguments = {"file": str(file), "delay": 0}
        calling = asyncio.create_task(
            client.call_tool("steps", arguments, progress_callback=report)
        )
        await has_begun.wait()
        own_server.worker().kill()
        let_go()
        result = await calling

    assert result.structured_content["log"] == STEPS
