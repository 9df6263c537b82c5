"""Typical use of the official asynchronous client by an application."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from langgraph.pregel.remote import RemoteGraph
from langgraph_sdk import get_client
from langgraph_sdk.errors import (
    BadRequestError,
    ConflictError,
    NotFoundError,
    UnprocessableEntityError,
)

from spool.tests.company import has_begun, hold
from spool.tests.live import WAIT_SECS, Server, wait_until

pytestmark = pytest.mark.e2e

HI = {"messages": [{"role": "user", "content": "hi"}]}
SYSTEM_NAMESPACE = uuid.UUID("6ba7b821-9dad-11d1-80b4-00c04fd430c8")


@pytest.fixture
async def client(server: Server) -> AsyncIterator[Any]:
    async with get_client(url=server.url) as client:
        yield client


async def names(stream: AsyncIterator[Any]) -> list[str]:
    return [part.event async for part in stream]


async def test_a_thread_is_created_read_changed_and_deleted(
    client: Any,
) -> None:
    created = await client.threads.create(metadata={"a": 1}, graph_id="echo")
    thread_id = created["thread_id"]
    read = await client.threads.get(thread_id)
    changed = await client.threads.update(thread_id, metadata={"b": 2})
    await client.threads.delete(thread_id)

    assert created["status"] == "idle"
    assert read["metadata"] == {"a": 1, "graph_id": "echo"}
    assert changed["metadata"] == {"a": 1, "b": 2, "graph_id": "echo"}
    with pytest.raises(NotFoundError):
        await client.threads.get(thread_id)


async def test_a_run_is_streamed_token_by_token(client: Any, thread_id: str) -> None:
    created: list[Any] = []
    parts = [
        part
        async for part in client.runs.stream(
            thread_id,
            "chat",
            input=HI,
            stream_mode="messages-tuple",
            on_run_created=created.append,
        )
    ]

    tokens = [part.data[0]["content"] for part in parts if part.event == "messages"]
    assert parts[0].event == "metadata"
    assert parts[0].data["run_id"] == created[0]["run_id"]
    assert created[0]["thread_id"] == thread_id
    assert len(tokens) == 7
    assert "".join(tokens) == "hello brave new world"


async def test_a_run_is_waited_for(client: Any, thread_id: str) -> None:
    values: Any = await client.runs.wait(thread_id, "echo", input=HI)

    thread = await client.threads.get(thread_id)
    assert values["messages"][-1]["content"] == "echo: hi"
    assert thread["status"] == "idle"
    assert thread["values"] == values


async def test_a_graph_is_interrupted_and_resumed(client: Any, thread_id: str) -> None:
    stopped: Any = await client.runs.wait(thread_id, "human", input={"topic": "t"})
    waiting = await client.threads.get(thread_id)
    before = await client.threads.get_state(thread_id)
    done: Any = await client.runs.wait(thread_id, "human", command={"resume": "yes"})
    after = await client.threads.get_state(thread_id)

    question = {"question": "approve?", "topic": "t"}
    assert stopped["__interrupt__"][0]["value"] == question
    assert waiting["status"] == "interrupted"
    [of_task] = waiting["interrupts"].values()
    assert of_task[0]["value"] == question
    assert before["next"] == ["ask"]
    assert before["interrupts"][0]["value"] == question
    assert done == {"topic": "t", "answer": "yes", "log": ["ask", "fin"]}
    assert after["next"] == []
    assert (await client.threads.get(thread_id))["status"] == "idle"


async def test_state_and_history_are_read_and_forked(
    client: Any, thread_id: str
) -> None:
    await client.runs.wait(thread_id, "slow", input={"delay": 0})

    history = await client.threads.get_history(thread_id, limit=20)
    older = await client.threads.get_history(thread_id, before=history[2]["checkpoint"])
    middle: Any = await client.threads.get_state(thread_id, history[3]["checkpoint"])
    forked = await client.threads.update_state(
        thread_id, {"log": ["mine"]}, checkpoint=history[3]["checkpoint"]
    )
    state: Any = await client.threads.get_state(thread_id)

    assert [entry["next"] for entry in history] == [
        [],
        ["s5"],
        ["s4"],
        ["s3"],
        ["s2"],
        ["s1"],
        ["__start__"],
    ]
    assert older == history[3:]
    assert middle["values"]["log"] == ["step1", "step2"]
    assert state["values"]["log"] == ["step1", "step2", "mine"]
    assert state["checkpoint"]["checkpoint_id"] == forked["checkpoint"]["checkpoint_id"]


async def test_a_background_run_is_joined(client: Any, thread_id: str) -> None:
    run = await client.runs.create(thread_id, "slow", input={"delay": 0.05})
    values: Any = await client.runs.join(thread_id, run["run_id"])

    assert run["status"] == "pending"
    assert values["log"] == [f"step{number}" for number in range(1, 6)]
    assert (await client.runs.get(thread_id, run["run_id"]))["status"] == "success"
    assert [r["run_id"] for r in await client.runs.list(thread_id)] == [run["run_id"]]


async def test_a_stream_is_joined_where_it_was_left(
    client: Any, thread_id: str
) -> None:
    run = await client.runs.create(
        thread_id,
        "slow",
        input={"delay": 0.05},
        stream_mode=["values", "custom"],
        stream_resumable=True,
    )

    async def join(last_event_id: str) -> list[Any]:
        stream = client.runs.join_stream(
            thread_id, run["run_id"], last_event_id=last_event_id
        )
        return [part async for part in stream]

    whole = await join("0")
    rest = await join(whole[3].id)

    assert [part.event for part in whole[:4]] == [
        "metadata",
        "values",
        "custom",
        "values",
    ]
    assert whole[-1].event == "end" or whole[-1].data["log"][-1] == "step5"
    assert rest == whole[4:]


async def test_a_run_is_cancelled(client: Any, thread_id: str) -> None:
    run = await client.runs.create(
        thread_id, "slow", input={"delay": 30}, stream_resumable=True
    )
    stream = client.runs.join_stream(thread_id, run["run_id"], last_event_id="0")
    assert (await anext(stream)).event == "metadata"

    await client.runs.cancel(thread_id, run["run_id"], wait=True)

    assert (await client.runs.get(thread_id, run["run_id"]))["status"] == "interrupted"
    assert (await client.threads.get(thread_id))["status"] == "interrupted"
    assert "error" not in await names(stream)
    with pytest.raises(NotFoundError):
        await client.runs.cancel(thread_id, run["run_id"])


async def test_a_rolled_back_run_leaves_nothing(
    client: Any, thread_id: str, file: Path
) -> None:
    await client.runs.wait(thread_id, "slow", input={"delay": 0})
    before = await client.threads.get_state(thread_id)
    hold(file, "2")
    given = {"file": str(file), "delay": 0}
    run = await client.runs.create(thread_id, "steps", input=given, durability="sync")
    await asyncio.to_thread(wait_until, lambda: has_begun(file, "2"))

    await client.runs.cancel(thread_id, run["run_id"], wait=True, action="rollback")

    with pytest.raises(NotFoundError):
        await client.runs.get(thread_id, run["run_id"])
    assert (await client.threads.get_state(thread_id))["values"] == before["values"]
    assert (await client.threads.get(thread_id))["status"] == "idle"


async def test_stateless_runs_leave_no_thread(client: Any) -> None:
    mark = {"stateless": uuid.uuid4().hex}

    values: Any = await client.runs.wait(None, "echo", input=HI, metadata=mark)
    streamed = client.runs.stream(
        None, "echo", input=HI, stream_mode="updates", metadata=mark
    )

    assert values["messages"][-1]["content"] == "echo: hi"
    assert (await names(streamed))[:2] == ["metadata", "updates"]
    assert await client.threads.search(metadata=mark) == []


async def test_a_stateless_run_may_keep_its_thread(client: Any) -> None:
    run = await client.runs.create(None, "echo", input=HI, on_completion="keep")

    values: Any = await client.runs.join(run["thread_id"], run["run_id"])

    assert values["messages"][-1]["content"] == "echo: hi"
    assert (await client.threads.get(run["thread_id"]))["status"] == "idle"


async def test_every_graph_has_its_assistant(client: Any) -> None:
    echo = await client.assistants.get(str(uuid.uuid5(SYSTEM_NAMESPACE, "echo")))
    found = await client.assistants.search(graph_id="chat")
    graph = await client.assistants.get_graph("human")
    schemas = await client.assistants.get_schemas(echo["assistant_id"])

    assert (echo["graph_id"], echo["name"], echo["version"]) == ("echo", "echo", 1)
    assert echo["metadata"] == {"created_by": "system"}
    assert found[0]["description"] == "Streams four words."
    assert {node["id"] for node in graph["nodes"]} >= {"ask", "fin"}
    assert "messages" in schemas["input_schema"]["properties"]


async def test_an_assistant_is_versioned_and_deleted(client: Any) -> None:
    created = await client.assistants.create("echo", name="Mine", metadata={"a": 1})
    assistant_id = created["assistant_id"]
    await client.assistants.update(assistant_id, name="Ours")
    versions = await client.assistants.get_versions(assistant_id)
    back = await client.assistants.set_latest(assistant_id, 1)
    await client.assistants.delete(assistant_id)

    assert [(v["version"], v["name"]) for v in versions] == [(2, "Ours"), (1, "Mine")]
    assert back["name"] == "Mine"
    with pytest.raises(NotFoundError):
        await client.assistants.get(assistant_id)


async def test_threads_are_found_by_metadata_and_status(
    client: Any,
) -> None:
    mark = uuid.uuid4().hex
    made = [
        await client.threads.create(metadata={"mark": mark, "n": n}) for n in range(3)
    ]

    found = await client.threads.search(metadata={"mark": mark}, limit=2)
    second = await client.threads.search(metadata={"mark": mark, "n": 1}, status="idle")

    assert [t["thread_id"] for t in found] == [
        made[2]["thread_id"],
        made[1]["thread_id"],
    ]
    assert [t["thread_id"] for t in second] == [made[1]["thread_id"]]
    assert await client.threads.count(metadata={"mark": mark}) == 3


async def test_a_failing_graph_is_an_error_for_every_caller(
    client: Any, thread_id: str
) -> None:
    with pytest.raises(Exception, match="boom happened"):
        await client.runs.wait(thread_id, "raises", input={"x": "1"})
    told = await client.runs.wait(
        thread_id, "raises", input={"x": "1"}, raise_error=False
    )
    parts = [
        part async for part in client.runs.stream(thread_id, "raises", input={"x": "1"})
    ]

    failure = {"error": "ValueError", "message": "boom happened"}
    assert told == {"__error__": failure}
    errors = [part.data for part in parts if part.event == "error"]
    assert errors == [failure]
    assert (await client.threads.get(thread_id))["status"] == "error"
    assert (await client.threads.get(thread_id))["error"] == failure


async def test_what_is_not_there_is_not_found(client: Any) -> None:
    unknown = str(uuid.uuid4())

    with pytest.raises(NotFoundError):
        await client.threads.get_state(unknown)
    with pytest.raises(NotFoundError):
        await client.runs.create(unknown, "echo", input=HI)
    with pytest.raises(NotFoundError):
        await client.runs.create(None, unknown, input=HI)
    with pytest.raises(UnprocessableEntityError):
        await client.runs.create(None, "no-such-graph", input=HI)


async def test_what_is_malformed_is_refused(client: Any, thread_id: str) -> None:
    with pytest.raises(UnprocessableEntityError):
        await client.threads.get("not-a-uuid")
    with pytest.raises(UnprocessableEntityError):
        await client.runs.create(thread_id, "echo", stream_mode="nonsense")
    with pytest.raises(BadRequestError):
        await client.runs.create(None, "human", command={"resume": "yes"})
    with pytest.raises(BadRequestError):
        await client.runs.create(
            thread_id, "echo", config={"configurable": {"a": 1}}, context={"b": 1}
        )


async def test_a_busy_thread_can_reject_or_queue(
    client: Any, thread_id: str, file: Path
) -> None:
    let_go = hold(file, "1")
    given = {"file": str(file), "delay": 0}
    first = await client.runs.create(thread_id, "steps", input=given)
    with pytest.raises(ConflictError):
        await client.runs.create(
            thread_id, "slow", input={"delay": 0}, multitask_strategy="reject"
        )
    second = await client.runs.create(
        thread_id, "slow", input={"delay": 0}, multitask_strategy="enqueue"
    )
    let_go()
    values: Any = await client.runs.join(thread_id, second["run_id"])

    assert len(values["log"]) == 10
    assert (await client.runs.get(thread_id, first["run_id"]))["status"] == "success"


async def test_many_streams_run_side_by_side(client: Any) -> None:
    async def one(number: int) -> str:
        thread = await client.threads.create()
        text = {"messages": [{"role": "user", "content": f"hi {number}"}]}
        last: Any = None
        async for part in client.runs.stream(
            thread["thread_id"], "echo", input=text, stream_mode="values"
        ):
            last = part.data if part.event == "values" else last
        content: str = last["messages"][-1]["content"]
        return content

    answers = await asyncio.gather(*[one(number) for number in range(20)])

    assert answers == [f"echo: hi {number}" for number in range(20)]


async def test_a_run_can_make_its_thread(client: Any) -> None:
    thread_id = str(uuid.uuid4())

    await client.runs.wait(thread_id, "echo", input=HI, if_not_exists="create")

    assert (await client.threads.get(thread_id))["status"] == "idle"


async def test_the_client_that_goes_may_take_its_run_along(
    client: Any, thread_id: str
) -> None:
    stream = client.runs.stream(
        thread_id, "slow", input={"delay": 30}, on_disconnect="cancel"
    )
    first = await anext(stream)
    await stream.aclose()

    run_id = first.data["run_id"]
    async with asyncio.timeout(WAIT_SECS):
        while (await client.runs.get(thread_id, run_id))["status"] != "interrupted":
            await asyncio.sleep(0.1)


async def test_a_remote_graph_behaves_like_a_local_one(
    client: Any, thread_id: str
) -> None:
    graph = RemoteGraph("nested", client=client)
    config: Any = {"configurable": {"thread_id": thread_id}}

    stream = graph.astream({"topic": "stop"}, config, stream_mode="updates")
    updates = [update async for update in stream]
    state: Any = await graph.aget_state(config, subgraphs=True)

    assert updates[0] == {"pre": {"log": ["pre:None"]}}
    assert state.next == ("child",)
    assert state.tasks[0].state.values["log"] == ["pre:None", "sub_a"]
