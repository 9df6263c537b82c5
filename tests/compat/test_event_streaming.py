"""`client.threads.stream()` of the official Python clients, with both transports."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any, cast

import httpx
import pytest
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.pregel.remote import RemoteGraph
from langgraph.types import Command
from langgraph_sdk import get_client, get_sync_client
from langgraph_sdk.client import LangGraphClient

from spool.tests.compat.streaming import Socket, Thread, after, ends_run
from spool.tests.live import WAIT_SECS, Server, wait_until

HI = {"messages": [{"role": "user", "content": "hi"}]}
WORDS = "hello brave new world"

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


# --- The asynchronous client ------------------------------------------------------------
@transports
async def test_tokens_come_one_by_one(
    official: LangGraphClient, transport: Any
) -> None:
    async with official.threads.stream(
        assistant_id="chat", transport=transport
    ) as thread:
        await thread.run.start(input=HI)
        messages = [message async for message in thread.messages]
        tokens = [[token async for token in message.text] for message in messages]
        output = await thread.output

    assert [len(said) > 1 for said in tokens] == [True]
    assert "".join(tokens[0]) == output["messages"][-1]["content"][0]["text"] == WORDS


@transports
async def test_an_interrupt_is_answered(
    official: LangGraphClient, transport: Any
) -> None:
    async with official.threads.stream(
        assistant_id="human", transport=transport
    ) as thread:
        await thread.run.start(input={"topic": "q"})
        # Don't use `thread.values`: the client ends it when it receives the interrupt,
        # and if that has come already, the test would wait in vain.
        async with asyncio.timeout(WAIT_SECS):
            while not thread.interrupts:
                await asyncio.sleep(0.01)
        [asked] = thread.interrupts
        paused = await official.threads.get_state(thread.thread_id)
        await thread.run.respond("yes")
        output = await thread.output.with_timeout(WAIT_SECS)

    assert paused["next"] == ["ask"]
    assert cast("dict[str, Any]", paused["values"])["topic"] == "q"
    assert asked["value"] == {"question": "approve?", "topic": "q"}
    assert (output["answer"], output["log"]) == ("yes", ["ask", "fin"])


@transports
async def test_parallel_interrupts_are_answered_one_by_one(
    official: LangGraphClient, transport: Any
) -> None:
    async with official.threads.stream(
        assistant_id="par", transport=transport
    ) as thread:
        await thread.run.start(input={})
        async with asyncio.timeout(WAIT_SECS):
            while len(thread.interrupts) < 2:
                await asyncio.sleep(0.01)
        for asked in list(thread.interrupts):
            await thread.run.respond(
                f"to {asked['value']}", interrupt_id=asked["interrupt_id"]
            )
        output = await thread.output.with_timeout(WAIT_SECS)

    assert sorted(output["log"]) == ["a:to qa", "b:to qb"]


@transports
async def test_subgraphs_and_what_happens_in_them(
    official: LangGraphClient, transport: Any
) -> None:
    async with official.threads.stream(
        assistant_id="nested", transport=transport
    ) as thread:
        await thread.run.start(input={"topic": "a"})
        found = [(sub.graph_name, sub) async for sub in thread.subgraphs]
        output = await thread.output

    assert [(name, sub.status) for name, sub in found] == [("child", "completed")]
    assert output["log"][-2:] == ["sub_a", "sub_b:n"]


@transports
@pytest.mark.parametrize(
    ("assistant", "name", "result"),
    [("tools", "adder", "3"), ("agent", "weather", "sunny in Oslo")],
)
async def test_tool_calls(
    official: LangGraphClient, transport: Any, assistant: str, name: str, result: str
) -> None:
    async with official.threads.stream(
        assistant_id=assistant, transport=transport
    ) as thread:
        await thread.run.start(input=HI)
        calls = [call async for call in thread.tool_calls]
        outputs = [(await call.output)["content"] for call in calls]

    assert [call.name for call in calls] == [name]
    assert outputs == [result]


@transports
async def test_a_failure_and_a_cancel_end_the_wait(
    official: LangGraphClient, transport: Any
) -> None:
    async with official.threads.stream(
        assistant_id="raises", transport=transport
    ) as thread:
        await thread.run.start(input={"x": "1"})
        with pytest.raises(RuntimeError, match="boom happened"):
            await thread.output.with_timeout(WAIT_SECS)
    async with official.threads.stream(
        assistant_id="slow", transport=transport
    ) as thread:
        run = await thread.run.start(input={"delay": 30})
        await official.runs.cancel(thread.thread_id, run["run_id"])
        with pytest.raises(RuntimeError, match="cancelled"):
            await thread.output.with_timeout(WAIT_SECS)


@transports
async def test_streams_of_several_threads_and_two_of_one(
    official: LangGraphClient, transport: Any
) -> None:
    async def run(words: str) -> tuple[str, str]:
        stream = official.threads.stream(assistant_id="echo", transport=transport)
        async with stream as thread:
            await thread.run.start(
                input={"messages": [{"role": "user", "content": words}]}
            )
            again = official.threads.stream(
                thread.thread_id, assistant_id="echo", transport=transport
            )
            async with again as other:
                told = [values async for values in other.values]
                output = await thread.output
            assert told[-1]["messages"][-1]["id"] == output["messages"][-1]["id"]
            return words, output["messages"][-1]["content"]

    said = await asyncio.gather(*[run(f"thread {number}") for number in range(8)])

    assert all(answer == f"echo: {words}" for words, answer in said)


# --- The synchronous client -------------------------------------------------------------
@transports
def test_the_synchronous_client(server: Server, transport: Any) -> None:
    with (
        get_sync_client(url=server.url) as client,
        client.threads.stream(assistant_id="chat", transport=transport) as thread,
    ):
        thread.run.start(input=HI)
        said = [list(message.text) for message in list(thread.messages)]
        output = thread.output
    with (
        get_sync_client(url=server.url) as client,
        client.threads.stream(assistant_id="human", transport=transport) as thread,
    ):
        thread.run.start(input={"topic": "q"})
        wait_until(lambda: bool(thread.interrupts))
        thread.run.respond("yes")
        answered = thread.output

    assert ["".join(tokens) for tokens in said] == [WORDS]
    assert output["messages"][-1]["content"][0]["text"] == WORDS
    assert answered["answer"] == "yes"


# --- RemoteGraph ------------------------------------------------------------------------
async def test_a_remote_graph_as_a_client(official: LangGraphClient) -> None:
    remote = RemoteGraph("human", client=official)
    thread_id = (await official.threads.create())["thread_id"]
    config: Any = {"configurable": {"thread_id": thread_id}}

    first = await remote.astream_events({"topic": "q"}, config, version="v3")
    async with first as stream:
        async with asyncio.timeout(WAIT_SECS):
            while not (asked := await stream.interrupts()):
                await asyncio.sleep(0.01)
    resuming: Any = Command(resume="yes")
    second = await remote.astream_events(resuming, config, version="v3")
    async with second as stream:
        output = await stream.output()

    assert [one["value"]["topic"] for one in asked] == ["q"]
    assert output["answer"] == "yes"


async def test_a_remote_graph_as_a_node(official: LangGraphClient) -> None:
    graph = StateGraph(MessagesState)
    graph.add_node("there", RemoteGraph("echo", client=official))
    graph.add_edge(START, "there")
    graph.add_edge("there", END)
    local: Any = graph.compile()

    run = await local.astream_events(HI, version="v3")
    async with run as stream:
        output = await stream.output()

    assert output["messages"][-1].content == "echo: hi"


# --- What clients hide ------------------------------------------------------------------
ALL = (
    *("values", "updates", "messages", "tools", "lifecycle"),
    *("input", "checkpoints", "tasks", "custom"),
)


def test_events_are_numbered_without_a_gap_over_runs(thread: Thread) -> None:
    thread.start("chat", HI)
    thread.events(["lifecycle"])
    thread.start("echo", HI)

    events = thread.events(ALL, after(2))

    numbers = [event["seq"] for event in events]
    assert numbers == list(range(1, len(events) + 1))
    assert len({event["event_id"] for event in events}) == len(events)


def test_a_client_goes_on_after_the_last_event_that_it_has(thread: Thread) -> None:
    thread.start("chat", HI)
    whole = thread.events(ALL)

    for event in whole[:-1]:
        rest = thread.events(ALL, since=event["seq"])
        assert rest == whole[event["seq"] :]


def test_events_are_chosen_by_namespace_and_depth(thread: Thread) -> None:
    thread.start("nested", {"topic": "a"})
    root = thread.events(["values", "lifecycle"], namespaces=[[]], depth=0)
    child = thread.events(["values", "lifecycle"], _ends_child, namespaces=[["child"]])

    assert {len(event["params"]["namespace"]) for event in root} == {0}
    assert {event["params"]["namespace"][0][:6] for event in child} == {"child:"}


def _ends_child(event: dict[str, Any]) -> bool:
    return event["method"] == "lifecycle" and event["params"]["data"]["event"] in (
        "completed",
    )


@pytest.mark.parametrize("modes", [["values"], ["updates"], []])
def test_other_runs_show_their_lifecycle_and_values(
    sync_http: httpx.Client, modes: list[str]
) -> None:
    thread_id = sync_http.post("/threads", json={}).json()["thread_id"]
    thread = Thread(sync_http, thread_id)
    body = {"assistant_id": "human", "input": {"topic": "q"}, "stream_mode": modes}
    sync_http.post(f"/threads/{thread_id}/runs/wait", json=body)

    events = thread.events(ALL)

    methods = [event["method"] for event in events]
    assert methods[0] == methods[-1] == "lifecycle"
    assert set(methods[1:-1]) == {"values", "input.requested"}
    assert {
        e["params"]["data"].get("topic") for e in events if e["method"] == "values"
    } == {"q"}
    assert events[-1]["params"]["data"]["event"] == "interrupted"


def test_a_run_can_be_joined_as_any_other(
    sync_http: httpx.Client, thread: Thread
) -> None:
    run_id = thread.start("human", {"topic": "q"})
    thread.events(["lifecycle"])
    path = f"/threads/{thread.id}/runs/{run_id}/stream"

    stream = sync_http.get(path, headers={"last-event-id": "-1"}).text

    names = [line[7:] for line in stream.splitlines() if line.startswith("event: ")]
    assert names[0] == "metadata"
    assert names[-1] == "end"
    assert "values" in names
    assert not any(name[0] in "@~" for name in names)


def test_private_state_stays_private(sync_http: httpx.Client, thread: Thread) -> None:
    thread.start("agent", HI)

    events = thread.events(ALL)

    assert "only the graph knows" not in str(events)
    state = sync_http.get(f"/threads/{thread.id}/state").json()
    assert state["values"]["secret"] == "only the graph knows"
    shown = sync_http.get(f"/threads/{thread.id}").json()["values"]
    assert shown["secret"] == "only the graph knows"


def test_an_agent_called_by_a_tool_says_what_called_it(thread: Thread) -> None:
    thread.start("deep", HI)

    events = thread.events(ALL)

    started = [
        event["params"]["data"]
        for event in events
        if event["method"] == "lifecycle"
        and event["params"]["data"]["event"] == "started"
    ]
    causes = [data.get("cause") for data in started]
    assert {"type": "toolCall", "tool_call_id": "call_1"} in causes


def test_usage_comes_with_the_end_of_a_message(thread: Thread) -> None:
    thread.start("tools", HI)

    events = thread.events(["messages", "lifecycle"])

    ends = [
        event["params"]["data"].get("usage")
        for event in events
        if event["params"]["data"]["event"] == "message-finish"
    ]
    assert ends[-1] == {"input_tokens": 3, "output_tokens": 5, "total_tokens": 8}


def test_a_pending_run_that_is_cancelled_ends_for_its_viewers(
    sync_http: httpx.Client, thread: Thread
) -> None:
    first = thread.start("slow", {"delay": 30})
    pending = thread.start("slow", {"delay": 0})

    sync_http.post(f"/threads/{thread.id}/runs/{pending}/cancel").raise_for_status()
    events = thread.events(["lifecycle"])
    sync_http.post(f"/threads/{thread.id}/runs/{first}/cancel").raise_for_status()

    assert pending in events[-1]["event_id"]
    assert events[-1]["params"]["data"]["event"] == "failed"


def test_a_deleted_thread_ends_its_streams(
    sync_http: httpx.Client, thread: Thread
) -> None:
    run_id = thread.start("slow", {"delay": 30})
    stream: Iterator[Any] = thread.stream(["lifecycle"])
    running = next(stream)

    sync_http.delete(f"/threads/{thread.id}").raise_for_status()
    rest = list(stream)
    again = Thread(sync_http, thread.id)
    again.start("echo", HI)
    events = again.events(["lifecycle", "values"])

    assert running["params"]["data"]["event"] == "running"
    assert [event["params"]["data"]["event"] for event in rest] == ["failed"]
    assert run_id not in str(events)


def test_commands_are_answered_by_the_protocols_codes(
    sync_http: httpx.Client, thread: Thread
) -> None:
    def code(method: str, **params: Any) -> str:
        return str(thread.command(method, **params)["error"])

    answer = {"namespace": [], "response": 1}
    assert code("state.get", namespace=[]) == "no_such_run"
    assert code("input.respond", interrupt_id="x", **answer) == "no_such_run"
    assert code("run.start", assistant_id="nothing", input=1) == "unknown_error"
    assert code("run.start", input=1) == "invalid_argument"
    thread.start("human", {"topic": "q"})
    thread.events(["lifecycle"])
    assert code("input.respond", interrupt_id="x", **answer) == "no_such_interrupt"
    assert code("agent.getTree") == "no_such_run"
    assert code("state.get", namespace=["nowhere:1"]) == "no_such_namespace"
    checkpoint_id = "1f000000-0000-6000-8000-000000000000"
    assert code("state.fork", checkpoint_id=checkpoint_id) == "no_such_checkpoint"
    assert code("input.inject") == "not_supported"
    assert code("subscription.subscribe", channels=["values"]) == "not_supported"
    assert code("nothing.known") == "unknown_command"
    path = f"/threads/{thread.id}/commands"
    not_json = sync_http.post(path, content="{")
    no_command = sync_http.post(path, json={"id": "x"})
    assert (not_json.status_code, no_command.status_code) == (400, 400)
    assert no_command.json()["id"] is None


def test_two_answers_to_one_interrupt_resume_it_once(thread: Thread) -> None:
    thread.start("human", {"topic": "q"})
    [asked, *_] = thread.events(["input"], lambda event: True)
    named = asked["params"]["data"]["interrupt_id"]

    answers = [
        thread.command("input.respond", namespace=[], interrupt_id=named, response=n)
        for n in range(2)
    ]
    thread.events(["lifecycle"], after(2))

    assert sorted(one["type"] for one in answers) == ["error", "success"]


def test_several_answers_come_in_one_command(thread: Thread) -> None:
    thread.start("par", {})
    asked = thread.events(["input"], after(2, lambda event: True))
    responses = [
        {"interrupt_id": one["params"]["data"]["interrupt_id"], "response": "yes"}
        for one in asked
    ]

    thread.command("input.respond", responses=responses)
    thread.events(["lifecycle"], after(2))

    state = thread.command("state.get")["result"]["values"]
    assert sorted(state["log"]) == ["a:yes", "b:yes"]


def test_an_answer_may_change_the_state_and_go_elsewhere(thread: Thread) -> None:
    thread.start("human", {"topic": "q"})
    [asked, *_] = thread.events(["input"], lambda event: True)
    named = asked["params"]["data"]["interrupt_id"]
    more = {"update": {"topic": "another"}, "goto": "fin"}

    answer = thread.command("input.respond", interrupt_id=named, response="yes", **more)
    thread.events(["lifecycle"], after(2))

    state = thread.command("state.get")["result"]["values"]
    assert answer["type"] == "success"
    assert (state["topic"], state["answer"]) == ("another", "yes")
    assert state["log"].count("fin") == 2


@pytest.mark.parametrize(
    ("strategy", "first_status"), [("interrupt", ["interrupted"]), ("rollback", [])]
)
def test_a_run_takes_the_place_of_another(
    sync_http: httpx.Client, thread: Thread, strategy: str, first_status: list[str]
) -> None:
    first = thread.start("slow", {"delay": 30})

    second = thread.start("slow", {"delay": 0}, multitask_strategy=strategy)
    thread.events(
        ["lifecycle"], lambda one: ends_run(one) and second in one["event_id"]
    )

    runs = sync_http.get(f"/threads/{thread.id}/runs").json()
    assert [one["status"] for one in runs if one["run_id"] == first] == first_status
    assert [one["status"] for one in runs if one["run_id"] == second] == ["success"]


def test_a_command_does_not_wait_for_the_run_before(
    sync_http: httpx.Client, thread: Thread
) -> None:
    thread.start("slow", {"delay": 30})
    thread.events(["lifecycle"], lambda event: True)

    refused = thread.command(
        "run.start", assistant_id="slow", input={}, multitask_strategy="reject"
    )
    thread.start("slow", {"delay": 0})
    runs = sync_http.get(f"/threads/{thread.id}/runs").json()
    sync_http.delete(f"/threads/{thread.id}").raise_for_status()

    assert "409" in refused["message"]
    assert sorted(one["status"] for one in runs) == ["pending", "running"]


def test_a_tree_of_the_graphs_of_a_run(thread: Thread) -> None:
    run_id = thread.start("nested", {"topic": "a"})
    thread.events(["lifecycle"])

    tree = thread.command("agent.getTree", run_id=run_id)["result"]["tree"]

    assert (tree["graph_name"], tree["status"]) == ("nested", "completed")
    [child] = tree["children"]
    assert (child["graph_name"], child["status"]) == ("child", "completed")


def test_a_fork_goes_on_from_its_checkpoint(thread: Thread) -> None:
    thread.start("human", {"topic": "first"})
    thread.events(["lifecycle"])
    listed = thread.command("state.listCheckpoints", limit=10)["result"]["checkpoints"]

    forked = thread.command(
        "state.fork", checkpoint_id=listed[-1]["id"], input={"topic": "second"}
    )
    thread.events(["lifecycle"], after(2))
    state = thread.command("state.get", keys=["topic"])["result"]

    assert forked["result"]["thread_id"] == thread.id
    assert [one["step"] for one in listed] == [0, -1]
    assert state["values"] == {"topic": "second"}


# --- WebSockets -------------------------------------------------------------------------
def test_a_socket_answers_commands_and_sends_each_event_once(
    server: Server, thread: Thread
) -> None:
    with Socket(server.url, thread.id) as socket:
        started = socket.command("run.start", assistant_id="chat", input=HI)
        first = socket.command("subscription.subscribe", channels=["lifecycle"])
        socket.until()
        count = len(socket.events)
        second = socket.command("subscription.subscribe", channels=["values"])
        both = socket.events[count:]
        socket.events.clear()
        socket.command("run.start", assistant_id="echo", input=HI)
        events = list(socket.until())
        ended = socket.command(
            "subscription.unsubscribe",
            subscription_id=second["result"]["subscription_id"],
        )
        again = socket.command("subscription.unsubscribe", subscription_id="none")
        back = socket.command(
            "subscription.reconnect", channels=["lifecycle"], since=events[-2]["seq"]
        )

    assert started["type"] == "success"
    assert first["result"]["replayed_events"] in (0, 1, 2)
    assert second["result"]["replayed_events"] == len(both) == 2
    numbers = [event["seq"] for event in events]
    assert numbers == sorted(set(numbers))
    assert ended["result"] == {}
    assert again["error"] == "no_such_subscription"
    assert (back["result"]["restored"], back["result"]["missed_events"]) == (True, 1)


def test_a_socket_says_what_it_cannot_read(server: Server, thread: Thread) -> None:
    with Socket(server.url, thread.id) as socket:
        socket.send('{"channels": ["values"]}')
        bare = socket.receive()
        socket.send("{")
        no_json = socket.receive()
        unknown = socket.command("subscription.subscribe", channels=["nothing"])

    assert (bare["id"], bare["error"]) == (None, "invalid_argument")
    assert (no_json["id"], no_json["error"]) == (None, "invalid_argument")
    assert unknown["error"] == "invalid_argument"


def test_a_socket_is_closed_with_its_thread(
    server: Server, sync_http: httpx.Client, thread: Thread
) -> None:
    with Socket(server.url, thread.id) as socket:
        socket.command("run.start", assistant_id="slow", input={"delay": 30})
        socket.command("subscription.subscribe", channels=["lifecycle"])
        sync_http.delete(f"/threads/{thread.id}").raise_for_status()
        socket.until()
        code = socket.close_code()

    assert ends_run(socket.events[-1])
    assert code == 4404
