"""Every method of the synchronous Python client for assistants and threads.

The SDK implements it separately from the asynchronous client, whose tests show what
each method does.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from langgraph_sdk import get_sync_client
from langgraph_sdk._sync.assistants import SyncAssistantsClient
from langgraph_sdk._sync.threads import SyncThreadsClient
from langgraph_sdk.errors import NotFoundError

from spool.tests.live import Server

pytestmark = pytest.mark.e2e


@pytest.fixture
def client(server: Server) -> Iterator[Any]:
    with get_sync_client(url=server.url) as client:
        yield client


@pytest.fixture
def mark() -> dict[str, str]:
    return {"mark": uuid.uuid4().hex}


def test_no_call_is_left_out() -> None:
    called = Path(__file__).read_text()
    clients = {"assistants": SyncAssistantsClient, "threads": SyncThreadsClient}

    left_out = [
        f"{name}.{call}"
        for name, client in clients.items()
        for call in vars(client)
        if not call.startswith("_") and f"{name}.{call}(" not in called
    ]

    assert left_out == ["threads.stream"]  # Another protocol.


def test_assistants(client: Any, mark: dict[str, str]) -> None:
    made = client.assistants.create("nested", context={"a": 1}, metadata=mark)
    assistant_id = made["assistant_id"]
    changed = client.assistants.update(assistant_id, name="Two")
    versions = client.assistants.get_versions(assistant_id)
    back = client.assistants.set_latest(assistant_id, 1)
    page = client.assistants.search(
        metadata=mark, select=["name"], response_format="object"
    )

    assert made["config"]["configurable"] == {"a": 1}
    assert (changed["name"], changed["version"]) == ("Two", 2)
    assert [version["version"] for version in versions] == [2, 1]
    assert back == client.assistants.get(assistant_id)
    assert page == {"assistants": [{"name": "Untitled"}], "next": None}
    assert client.assistants.count(metadata=mark) == 1
    assert client.assistants.get_graph(assistant_id, xray=1)["edges"]
    assert client.assistants.get_schemas(assistant_id)["graph_id"] == "nested"
    assert set(client.assistants.get_subgraphs(assistant_id, recurse=True)) == {"child"}
    client.assistants.delete(assistant_id, delete_threads=True)
    with pytest.raises(NotFoundError):
        client.assistants.get(assistant_id)


def test_threads(client: Any, mark: dict[str, str]) -> None:
    thread_id = client.threads.create(metadata=mark, graph_id="human", ttl=5)[
        "thread_id"
    ]
    client.runs.wait(thread_id, "human", input={"topic": "t"})
    changed = client.threads.update(thread_id, metadata={"more": 1}, ttl=7)
    minimal = client.threads.update(thread_id, metadata={}, return_minimal=True)
    [found] = client.threads.search(
        metadata=mark,
        values={"topic": "t"},
        status="interrupted",
        select=["thread_id"],
        extract={"topic": "values.topic"},
    )

    assert changed["metadata"]["more"] == 1
    assert minimal is None
    assert found == {"thread_id": thread_id, "extracted": {"topic": "t"}}
    assert client.threads.count(metadata=mark) == 1
    shown = client.threads.get(thread_id, include=["ttl"])
    assert shown["ttl"]["ttl_minutes"] == 7
    copy = client.threads.copy(thread_id)["thread_id"]
    assert client.threads.prune([copy]) == {"pruned_count": 1}
    client.threads.delete(thread_id)
    with pytest.raises(NotFoundError):
        client.threads.get(thread_id)


def test_state(client: Any) -> None:
    thread_id = client.threads.create()["thread_id"]
    client.runs.wait(thread_id, "nested", input={"topic": "stop"})
    whole = client.threads.get_state(thread_id, subgraphs=True)
    checkpoint = client.threads.get_state(thread_id)["tasks"][0]["checkpoint"]
    inner = client.threads.get_state(thread_id, checkpoint=checkpoint, select=["next"])
    history = client.threads.get_history(
        thread_id, limit=1, before=whole["checkpoint"], metadata={"source": "loop"}
    )
    updated = client.threads.update_state(
        thread_id, {"log": ["mine"]}, as_node="pre", checkpoint=whole["checkpoint"]
    )

    assert whole["tasks"][0]["state"]["next"] == inner["next"] == ["sub_b"]
    assert [state["metadata"]["step"] for state in history] == [0]
    after = client.threads.get_state(thread_id)
    assert updated["checkpoint"] == after["checkpoint"]
    assert after["values"]["log"][-1] == "mine"


def test_a_thread_is_watched(client: Any) -> None:
    thread_id = client.threads.create()["thread_id"]
    run = client.runs.create(thread_id, "echo", input={"messages": []})
    client.runs.join(thread_id, run["run_id"])

    stream = client.threads.join_stream(
        thread_id, last_event_id="0", stream_mode=["lifecycle"]
    )
    next(stream)
    done = next(stream)
    stream.close()

    assert done.data == {"status": "run_done", "run_id": run["run_id"]}
