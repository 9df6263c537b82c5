"""Event streaming of agents: parallel models, private state, and delegation."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from langgraph_sdk import get_client
from langgraph_sdk.client import LangGraphClient

from spool.runs.streaming.run_form import UNCHANGED
from spool.tests.compat.streaming import Thread, after
from spool.tests.compat.test_event_streaming import ALL, HI
from spool.tests.compat.wire import parse
from spool.tests.live import WAIT_SECS, Server

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.filterwarnings("ignore::langchain_core._api.LangChainBetaWarning"),
]

transports = pytest.mark.parametrize("transport", ["sse", "websocket"])


@pytest.fixture
def thread(sync_http: httpx.Client) -> Thread:
    return Thread(sync_http)


@pytest.fixture
async def official(server: Server) -> AsyncIterator[LangGraphClient]:
    async with get_client(url=server.url) as client:
        yield client


@transports
async def test_messages_that_are_streamed_at_once_are_told_apart(
    official: LangGraphClient, transport: Any
) -> None:
    async with official.threads.stream(
        assistant_id="choir", transport=transport
    ) as thread:
        await thread.run.start(input=HI)
        messages = [message async for message in thread.messages]
        said = ["".join([token async for token in one.text]) for one in messages]

    assert sorted(said) == ["do do do do", "la la la la"]


@transports
async def test_an_agent_that_plans_delegates_and_asks(
    official: LangGraphClient, transport: Any
) -> None:
    # Use one stream object for each view. Two views of one object may replace each
    # other's requests, and the SDK loses a request that is replaced before its answer.
    def stream(thread_id: str | None = None) -> Any:
        return official.threads.stream(
            thread_id, assistant_id="planner", transport=transport
        )

    async with stream() as thread, stream(thread.thread_id) as calling:
        await thread.run.start(input=HI)
        helpers: list[asyncio.Task[tuple[str | None, list[str]]]] = []

        async def listen(helper: Any) -> tuple[str | None, list[str]]:
            messages = [message async for message in helper.messages]
            said = ["".join([word async for word in one.text]) for one in messages]
            return helper.graph_name, said

        async def delegate() -> None:
            async for helper in thread.subgraphs:
                helpers.append(asyncio.create_task(listen(helper)))

        async def call() -> list[str]:
            names: list[str] = []
            async for call in calling.tool_calls:
                names.append(call.name)
                if len(names) == 2:
                    return names
            return names

        async with asyncio.timeout(WAIT_SECS):
            calls, _ = await asyncio.gather(call(), delegate())
            heard = await asyncio.gather(*helpers)
        [asked] = thread.interrupts
        await thread.run.respond({"decisions": [{"type": "approve"}]})
        output = await thread.output.with_timeout(WAIT_SECS)

    assert calls == ["write_todos", "task"]
    assert ["calling weather ", "Rome is sunny. "] in [said for _, said in heard]
    assert asked["value"]["action_requests"][0]["name"] == "send"
    assert output["todos"][0]["content"] == "Find out about Rome"
    assert output["messages"][-1]["content"][0]["text"].strip() == "All is done."


def test_the_helper_of_an_agent_has_a_namespace_and_secrets(thread: Thread) -> None:
    thread.start("planner", HI)

    events = thread.events(ALL)

    [started] = [
        event["params"]
        for event in events
        if event["method"] == "lifecycle"
        and event["params"]["data"].get("cause", {}).get("tool_call_id") == "call_2"
    ]
    depth = len(started["namespace"])
    methods = {
        event["method"]
        for event in events
        if event["params"]["namespace"][:depth] == started["namespace"]
    }
    assert started["data"]["graph_name"] == "helper"
    assert {"messages", "tools", "values", "lifecycle", "tasks"} <= methods
    assert "only the graph knows" not in str(events)


def test_private_state_of_a_subgraph_stays_private(thread: Thread) -> None:
    thread.start("discreet", {"topic": "a"})

    events = thread.events(ALL)

    assert "only the child knows" not in str(events)
    results = [
        event["params"]["data"]["result"]
        for event in events
        if event["method"] == "tasks" and "result" in event["params"]["data"]
    ]
    assert {"log": ["hidden"]} in results


@pytest.mark.parametrize(
    ("modes", "expected"),
    [
        (["messages"], {"messages/metadata", "messages/partial"}),
        (["messages-tuple"], {"messages"}),
        (["values"], {"values"}),
        ([], {*UNCHANGED, "messages/metadata", "messages/partial"}),
    ],
)
def test_tokens_come_to_those_who_join_the_run(
    sync_http: httpx.Client, thread: Thread, modes: list[str], expected: set[str]
) -> None:
    run_id = thread.start("tools", HI)
    thread.events(["lifecycle"])
    path = f"/threads/{thread.id}/runs/{run_id}/stream"

    headers = {"last-event-id": "-1"}
    stream = sync_http.get(path, headers=headers, params={"stream_mode": modes})

    events = parse(stream.text)
    assert {event.name for event in events} - {"metadata", "end"} == expected
    whole = [event.data[0] for event in events if event.name == "messages/partial"]
    chunks = [event.data for event in events if event.name == "messages"]
    if "messages" in modes:
        assert [one["content"] for one in whole[:1]] == ["calling"]
        assert whole[1]["tool_calls"][0]["args"] == {"a": 1, "b": 2}
        assert whole[-1]["usage_metadata"]["total_tokens"] == 8
    if "messages-tuple" in modes:
        assert chunks[0][0]["content"] == "calling"
        assert chunks[0][1]["langgraph_node"]
        assert chunks[1][0]["tool_call_chunks"][0]["name"] == "adder"


def test_all_clients_are_told_what_a_run_answers(thread: Thread) -> None:
    thread.start("human", {"topic": "q"})
    [asked, *_] = thread.events(["input"], lambda event: True)
    named = asked["params"]["data"]["interrupt_id"]

    thread.command("input.respond", namespace=[], interrupt_id=named, response="yes")
    events = thread.events(["input", "lifecycle"], after(2))

    [answered] = [event for event in events if event["method"] == "input.answered"]
    assert answered["params"]["data"] == {"interrupt_ids": [named]}
    assert answered["params"]["namespace"] == []
    assert events[events.index(answered) - 1]["params"]["data"]["event"] == "running"


def test_a_strict_resume_that_is_refused_says_why(thread: Thread) -> None:
    thread.start("human", {"topic": "q"})
    [asked, *_] = thread.events(["input"], lambda event: True)
    pending = asked["params"]["data"]["interrupt_id"]
    unknown = "f" * 32

    body = {
        "assistant_id": "human",
        "command": {"resume": {unknown: "yes"}},
        "strict_resume": True,
    }
    thread.http.post(f"/threads/{thread.id}/runs/wait", json=body).raise_for_status()
    events = thread.events(["lifecycle"], after(2))

    refused = events[-1]["params"]["data"]
    assert refused["event"] == "failed"
    assert refused["reason"] == "not_pending"
    assert refused["interrupt_ids"] == [unknown]
    assert refused["pending_ids"] == [pending]
