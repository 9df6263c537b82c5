"""The core of the API with the official synchronous client."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from langgraph_sdk import get_sync_client
from langgraph_sdk.errors import NotFoundError

from spool.tests.live import Server

pytestmark = pytest.mark.e2e

HI = {"messages": [{"role": "user", "content": "hi"}]}


@pytest.fixture
def client(server: Server) -> Iterator[Any]:
    with get_sync_client(url=server.url) as client:
        yield client


@pytest.fixture
def thread_id(client: Any) -> str:
    return str(client.threads.create()["thread_id"])


def test_a_run_is_streamed(client: Any, thread_id: str) -> None:
    modes: Any = ["updates", "messages-tuple"]

    parts = list(client.runs.stream(thread_id, "chat", input=HI, stream_mode=modes))

    tokens: list[Any] = [part.data for part in parts if part.event == "messages"]
    assert parts[0].event == "metadata"
    assert "".join(token[0]["content"] for token in tokens) == "hello brave new world"
    assert "updates" in {part.event for part in parts}


def test_a_graph_is_interrupted_and_resumed(client: Any, thread_id: str) -> None:
    stopped: Any = client.runs.wait(thread_id, "human", input={"topic": "t"})
    done: Any = client.runs.wait(thread_id, "human", command={"resume": "no"})
    history = client.threads.get_history(thread_id)

    assert stopped["__interrupt__"][0]["value"]["question"] == "approve?"
    assert done["answer"] == "no"
    assert history[0]["next"] == []
    assert history[0]["values"] == client.threads.get_state(thread_id)["values"]


def test_a_background_run_is_joined(client: Any, thread_id: str) -> None:
    run = client.runs.create(thread_id, "slow", input={"delay": 0.02})

    values: Any = client.runs.join(thread_id, run["run_id"])

    assert values["log"][-1] == "step5"
    assert client.runs.get(thread_id, run["run_id"])["status"] == "success"


def test_a_stream_is_joined_where_it_was_left(client: Any, thread_id: str) -> None:
    run = client.runs.create(
        thread_id, "slow", input={"delay": 0.02}, stream_resumable=True
    )
    run_id = run["run_id"]

    whole = list(client.runs.join_stream(thread_id, run_id, last_event_id="0"))
    again = list(client.runs.join_stream(thread_id, run_id, last_event_id=whole[2].id))

    assert [part.event for part in whole[:3]] == ["metadata", "values", "values"]
    assert again == whole[3:]


def test_a_run_is_cancelled(client: Any, thread_id: str) -> None:
    run = client.runs.create(thread_id, "slow", input={"delay": 5})

    client.runs.cancel(thread_id, run["run_id"], wait=True)

    assert client.runs.get(thread_id, run["run_id"])["status"] == "interrupted"


def test_stateless_runs(client: Any) -> None:
    values: Any = client.runs.wait(None, "echo", input=HI)
    batch = client.runs.create_batch(
        [{"assistant_id": "echo", "input": HI}, {"assistant_id": "chat", "input": HI}]
    )

    assert values["messages"][-1]["content"] == "echo: hi"
    assert [run["status"] for run in batch] == ["pending", "pending"]


def test_errors_have_their_class(client: Any) -> None:
    with pytest.raises(NotFoundError, match="not found"):
        client.threads.get("00000000-0000-4000-8000-000000000000")
