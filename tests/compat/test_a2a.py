"""What other agents do with ours, using the official A2A client for Python."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from a2a.types.a2a_pb2 import (
    DeleteTaskPushNotificationConfigRequest,
    GetTaskPushNotificationConfigRequest,
    ListTaskPushNotificationConfigsRequest,
    ListTasksRequest,
    Part,
    Role,
    SendMessageConfiguration,
    TaskPushNotificationConfig,
    TaskState,
)
from a2a.utils.errors import A2AError, TaskNotCancelableError, TaskNotFoundError
from google.protobuf.json_format import MessageToDict

from spool.tests.company import hold
from spool.tests.compat.agents import (
    BINDINGS,
    ONE_ZERO,
    Agent,
    Binding,
    Received,
    opened,
    request,
    texts,
)
from spool.tests.live import Server

pytestmark = pytest.mark.e2e

SUBMITTED = TaskState.TASK_STATE_SUBMITTED
WORKING = TaskState.TASK_STATE_WORKING
COMPLETED = TaskState.TASK_STATE_COMPLETED
FAILED = TaskState.TASK_STATE_FAILED
CANCELED = TaskState.TASK_STATE_CANCELED
INPUT_REQUIRED = TaskState.TASK_STATE_INPUT_REQUIRED

Open = Callable[[str], Awaitable[Agent]]


@pytest.fixture(params=BINDINGS, ids=str)
async def agent(server: Server, request: Any) -> AsyncIterator[Open]:
    """Opens the agent of a graph."""
    async with AsyncExitStack() as stack:

        async def open_agent(graph: str) -> Agent:
            client = opened(server.url, graph, request.param)
            return await stack.enter_async_context(client)

        yield open_agent


# --- Sending and streaming -----------------------------------------------------------
async def test_an_answer_is_waited_for(agent: Open) -> None:
    echo = await agent("echo")

    task = await echo.send("hi")

    assert task.status.state == COMPLETED
    assert [texts([artifact]) for artifact in task.artifacts] == [["echo: hi"]]
    assert texts(task.history) == ["hi", "echo: hi"]
    assert [one.role for one in task.history] == [Role.ROLE_USER, Role.ROLE_AGENT]
    age = datetime.now(UTC) - task.status.timestamp.ToDatetime(tzinfo=UTC)
    assert abs(age.total_seconds()) < 60


async def test_an_answer_is_streamed_token_by_token(agent: Open) -> None:
    chat = await agent("chat")
    pieces = []
    received = Received()

    async for event in chat.streaming.send_message(request("hi")):
        received.add(event)
        if event.HasField("artifact_update"):
            pieces.append(event.artifact_update)

    assert received.states == [SUBMITTED, WORKING, COMPLETED]
    assert received.texts == ["hello brave new world"]
    assert len(pieces) > 3
    assert pieces[-1].last_chunk
    assert [
        artifact.artifact_id for artifact in (await chat.get(received.id)).artifacts
    ] == (list(received.artifacts))


async def test_a_task_is_returned_before_it_is_done(agent: Open, file: Path) -> None:
    steps = await agent("steps")
    now = SendMessageConfiguration(return_immediately=True)
    let_go = hold(file, "1")

    task = await steps.send({"file": str(file), "delay": 0}, configuration=now)

    assert task.status.state in (SUBMITTED, WORKING)
    received = Received()
    async for event in steps.subscribe(task.id):
        let_go()  # It can only be followed until it ends.
        received.add(event)
    assert received.states[-1] == COMPLETED
    assert (await steps.get(task.id)).status.state == COMPLETED


async def test_history_is_as_long_as_was_asked_for(agent: Open) -> None:
    echo = await agent("echo")
    short = SendMessageConfiguration(history_length=1)

    task = await echo.send("hi", configuration=short)

    assert texts(task.history) == ["echo: hi"]
    assert texts((await echo.get(task.id, 1)).history) == ["echo: hi"]
    assert texts((await echo.get(task.id)).history) == ["hi", "echo: hi"]


@pytest.mark.parametrize("binding", ONE_ZERO, ids=str)
async def test_history_is_left_out(server: Server, binding: Binding) -> None:
    async with opened(server.url, "echo", binding) as echo:
        none = SendMessageConfiguration(history_length=0)

        task = await echo.send("hi", configuration=none)

        assert not task.history
        assert not (await echo.get(task.id, 0)).history


async def test_a_second_message_goes_on_with_the_conversation(
    agent: Open, server: Server
) -> None:
    echo = await agent("echo")

    first = await echo.send("one")
    second = await echo.send("two", context_id=first.context_id)

    assert second.id != first.id
    assert texts(second.history) == ["two", "echo: two"]
    assert texts((await echo.get(first.id)).history) == ["one", "echo: one"]
    state = await echo.http.get(f"{server.url}/threads/{first.context_id}/state")
    said = [one["content"] for one in state.json()["values"]["messages"]]
    assert said == ["one", "echo: one", "two", "echo: two"]


async def test_a_context_may_be_named_by_the_client(agent: Open) -> None:
    echo = await agent("echo")
    context_id = str(uuid.uuid4())

    task = await echo.send("hi", context_id=context_id)

    assert task.context_id == context_id
    with pytest.raises(A2AError, match="UUID"):
        await echo.send("hi", context_id="my context")


async def test_a_failure_says_why(agent: Open) -> None:
    raises = await agent("raises")

    received = await raises.stream({})

    assert received.states == [SUBMITTED, WORKING, FAILED]
    assert received.last_message
    assert texts([received.last_message]) == ["boom happened"]


# --- Parts ---------------------------------------------------------------------------
async def test_files_and_data_reach_the_graph_and_come_back(agent: Open) -> None:
    looking = await agent("looking")
    raw = Part(raw=b"%PDF", media_type="application/pdf", filename="a.pdf")
    url = Part(url="https://example.com/cat.png", media_type="image/png")

    task = await looking.send("see", raw, url, {"n": 1})

    said = 'see file:a.pdf:%PDF image::https://example.com/cat.png {"n": 1}'
    [artifact] = task.artifacts
    text, file = artifact.parts
    assert text.text == said
    assert (file.raw, file.media_type, file.filename) == (
        said.encode(),
        "text/plain",
        "report.txt",
    )


async def test_data_goes_into_the_fields_of_the_input(agent: Open) -> None:
    travelling = await agent("travelling")

    task = await travelling.send("with my cat", {"city": "Rome"})

    answer, output = task.artifacts
    assert texts([answer]) == ["To Rome: with my cat"]
    assert MessageToDict(output.parts[0].data) == {
        "city": "Rome",
        "plan": {"city": "Rome", "days": 3},
    }


async def test_a_graph_without_messages_takes_and_gives_data(agent: Open) -> None:
    slow = await agent("slow")

    task = await slow.send({"delay": 0.0, "n": 1})

    [output] = task.artifacts
    steps = [f"step{number}" for number in range(1, 6)]
    assert MessageToDict(output.parts[0].data)["log"] == steps
    with pytest.raises(A2AError, match="data"):
        await slow.send("hi")


async def test_a_function_takes_one_value(agent: Open) -> None:
    functional = await agent("functional")

    task = await functional.send(3)

    [output] = task.artifacts
    assert _data(output.parts[0]) == 6


async def test_what_is_private_stays_so(agent: Open) -> None:
    judging = await agent("judging")

    received = await judging.stream("well?", {"question": "theft"})

    task = await judging.get(received.id)
    assert "between you and me" not in str(task)
    [[part]] = received.artifacts.values()
    assert _data(part) == {"verdict": "guilty of theft"}


# --- Questions -----------------------------------------------------------------------
async def test_an_interrupt_is_a_question_and_a_message_answers_it(agent: Open) -> None:
    confirming = await agent("confirming")

    asked = await confirming.stream("please")
    assert asked.states == [SUBMITTED, WORKING, INPUT_REQUIRED]
    assert asked.last_message
    assert texts([asked.last_message]) == ["Are you sure?"]
    waiting = await confirming.get(asked.id)
    assert texts([waiting.status.message]) == ["Are you sure?"]

    task = await confirming.send("yes", task_id=asked.id)

    assert task.id == asked.id
    assert task.status.state == COMPLETED
    assert texts(task.history) == [
        "please",
        "I shall ask.",
        "Are you sure?",
        "yes",
        "done: yes",
    ]
    assert [texts([one]) for one in task.artifacts] == [["I shall ask."], ["done: yes"]]
    with pytest.raises(A2AError, match="has ended"):
        await confirming.send("yes", task_id=asked.id)


async def test_several_questions_are_answered_one_by_one(agent: Open) -> None:
    par = await agent("par")

    first = await par.send({"log": []})
    asked = {part.text: part for part in first.status.message.parts}
    assert set(asked) == {"qa", "qb"}
    interrupt_id = MessageToDict(asked["qb"].metadata)["interrupt_id"]
    second = await par.send({interrupt_id: "B"}, task_id=first.id)
    assert texts([second.status.message]) == ["qa"]
    third = await par.send("A", task_id=first.id)

    assert third.status.state == COMPLETED
    [output] = third.artifacts
    assert set(_data(output.parts[0])["log"]) == {"a:A", "b:B"}


async def test_an_answer_of_a_run_endpoint_goes_on_with_the_task(
    agent: Open, server: Server
) -> None:
    confirming = await agent("confirming")
    asked = await confirming.send("please")

    await confirming.http.post(
        f"{server.url}/threads/{asked.context_id}/runs/wait",
        json={"assistant_id": "confirming", "command": {"resume": "by hand"}},
    )

    task = await confirming.get(asked.id)
    assert task.status.state == COMPLETED
    assert texts(task.history)[-1] == "done: by hand"


# --- Following and stopping ----------------------------------------------------------
async def test_a_task_is_cancelled(agent: Open) -> None:
    slow = await agent("slow")
    received = Received()

    async for event in slow.streaming.send_message(request({"delay": 30})):
        received.add(event)
        if received.states[-1] == WORKING:
            task = await slow.cancel(received.id)
            assert task.status.state == CANCELED

    assert received.states == [SUBMITTED, WORKING, CANCELED]
    with pytest.raises(TaskNotCancelableError):
        await slow.cancel(received.id)


async def test_a_late_subscriber_misses_nothing(agent: Open, tmp_path: Path) -> None:
    dictating = await agent("dictating")
    gate = tmp_path / "gate"
    gate.touch()
    said = f"{gate} one two three"
    now = SendMessageConfiguration(return_immediately=True)
    task = await dictating.send(said, configuration=now)

    received = Received()
    async for event in dictating.subscribe(task.id):
        received.add(event)
        if "one" in "".join(received.texts):
            gate.unlink(missing_ok=True)

    assert received.states[-1] == COMPLETED
    assert received.texts == [f"{said} "]
    with pytest.raises(A2AError, match="has ended"):
        [one async for one in dictating.subscribe(task.id)]


async def test_missing_tasks_are_not_found(agent: Open) -> None:
    echo, slow = await agent("echo"), await agent("slow")
    task = await echo.send("hi")

    for task_id in ("x", f"{uuid.uuid4()}:{uuid.uuid4()}", task.context_id):
        with pytest.raises(TaskNotFoundError):
            await echo.get(task_id)
    # Another agent doesn't have this task.
    with pytest.raises(TaskNotFoundError):
        await slow.get(task.id)
    with pytest.raises(TaskNotFoundError):
        await slow.cancel(task.id)


# --- Lists ---------------------------------------------------------------------------
@pytest.mark.parametrize("binding", ONE_ZERO, ids=str)
async def test_tasks_are_listed_page_by_page(server: Server, binding: Binding) -> None:
    async with opened(server.url, "confirming", binding) as agent:
        context_id = str(uuid.uuid4())
        sent = [await agent.send("please", context_id=context_id) for _ in range(3)]
        newest_first = [task.id for task in reversed(sent)]
        asked: dict[str, Any] = {"context_id": context_id, "page_size": 2}

        first = await agent.blocking.list_tasks(ListTasksRequest(**asked))
        second = await agent.blocking.list_tasks(
            ListTasksRequest(**asked, page_token=first.next_page_token)
        )

        assert [task.id for task in (*first.tasks, *second.tasks)] == newest_first
        assert (first.total_size, first.page_size) == (3, 2)
        assert second.next_page_token == ""
        assert not any(task.artifacts or task.history for task in first.tasks)


@pytest.mark.parametrize("binding", ONE_ZERO, ids=str)
async def test_lists_are_filtered(server: Server, binding: Binding) -> None:
    async with opened(server.url, "confirming", binding) as agent:
        context_id = str(uuid.uuid4())
        done = await agent.send("one", context_id=context_id)
        await agent.send("yes", task_id=done.id)
        waiting = await agent.send("two", context_id=context_id)

        async def ids(**wanted: Any) -> list[str]:
            request = ListTasksRequest(context_id=context_id, **wanted)
            return [one.id for one in (await agent.blocking.list_tasks(request)).tasks]

        assert await ids(status=INPUT_REQUIRED) == [waiting.id]
        assert await ids(status=COMPLETED) == [done.id]
        assert await ids(status=FAILED) == []
        since = waiting.status.timestamp
        assert await ids(status_timestamp_after=since) == [waiting.id]
        request = ListTasksRequest(
            context_id=context_id, include_artifacts=True, history_length=1
        )
        newest, _ = (await agent.blocking.list_tasks(request)).tasks
        assert [texts([one]) for one in newest.artifacts] == [["I shall ask."]]
        assert len(newest.history) == 1
        for bad in ({"page_size": 0}, {"page_size": 101}, {"page_token": "x"}):
            with pytest.raises(A2AError):
                await ids(**bad)


# --- Push configurations ---------------------------------------------------------------
async def test_push_configurations_are_kept(agent: Open) -> None:
    echo = await agent("echo")
    task = await echo.send("hi")
    client = echo.blocking
    for config_id in ("one", "two"):
        await client.create_task_push_notification_config(
            TaskPushNotificationConfig(
                task_id=task.id,
                id=config_id,
                url=f"http://127.0.0.1:9/{config_id}",
                token="secret",
            )
        )

    listed = await client.list_task_push_notification_configs(
        ListTaskPushNotificationConfigsRequest(task_id=task.id)
    )
    assert [one.id for one in listed.configs] == ["one", "two"]
    found = await client.get_task_push_notification_config(
        GetTaskPushNotificationConfigRequest(task_id=task.id, id="two")
    )
    assert (found.url, found.token) == ("http://127.0.0.1:9/two", "secret")
    await client.delete_task_push_notification_config(
        DeleteTaskPushNotificationConfigRequest(task_id=task.id, id="two")
    )
    with pytest.raises(TaskNotFoundError):
        await client.get_task_push_notification_config(
            GetTaskPushNotificationConfigRequest(task_id=task.id, id="two")
        )


# --- Cards ---------------------------------------------------------------------------
async def test_a_card_says_where_an_agent_is(server: Server, http: Any) -> None:
    by_name = await http.get("/a2a/chat/.well-known/agent-card.json")
    card = by_name.json()
    url = card["supportedInterfaces"][0]["url"]

    assert url.startswith(f"{server.url}/a2a/")
    same = [
        await http.get("/a2a/chat"),
        await http.get(url),
        await http.get("/.well-known/agent-card.json?assistant_id=chat"),
        await http.get(f"/.well-known/agent-card.json?assistant_id={url[-36:]}"),
    ]
    assert [one.json() for one in same] == [card] * 4
    assert card["description"] == "Streams four words."
    assert (card["url"], card["protocolVersion"]) == (url, "0.3")
    assert card["capabilities"]["streaming"] is True
    assert "securitySchemes" not in card


async def test_which_card_is_meant_has_to_be_said(http: Any) -> None:
    answer = await http.get("/.well-known/agent-card.json")

    assert answer.status_code == 400
    assert "eb6db400-e3c8-5d06-a834-015cb89efe69 (chat)" in answer.json()["detail"]
    unknown = await http.get("/.well-known/agent-card.json?assistant_id=nope")
    assert unknown.status_code == 404


def _data(part: Part) -> Any:
    return MessageToDict(part.data)
