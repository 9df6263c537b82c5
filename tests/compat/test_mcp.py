"""MCP with the official Python client, in its old and its new versions."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, cast
from uuid import uuid4

import httpx
import httpx2
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.exceptions import MCPError
from mcp_types import CallToolResult, ElicitResult, InputRequiredResult, TextContent

from spool.tests.company import hold
from spool.tests.live import ROOT, WAIT_SECS, Server, new_key, serving

pytestmark = pytest.mark.e2e

MODES = ["2026-07-28", "legacy"]
OWN = {"created_by": "mcp"}

Opened = Callable[..., Any]


@pytest.fixture(params=MODES)
def mode(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def connect(server: Server, mode: str) -> Opened:
    """A function that opens a client; its user gives the `answers` one by one."""

    def connect(*answers: Any, asked: list[Any] | None = None) -> Client:
        waiting = list(answers)

        async def elicit(context: Any, params: Any) -> ElicitResult:
            if asked is not None:
                asked.append(params)
            answer = waiting.pop(0)
            if answer in ("decline", "cancel"):
                return ElicitResult(action=answer)
            return ElicitResult(action="accept", content={"response": answer})

        callback = elicit if answers else None
        return Client(f"{server.url}/mcp", mode=mode, elicitation_callback=callback)

    return connect


def text_of(result: CallToolResult) -> str:
    return cast(TextContent, result.content[0]).text


async def until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(WAIT_SECS):
        while not await condition():
            await asyncio.sleep(0.02)


@pytest.fixture
def own_threads(http: httpx.AsyncClient) -> Any:
    """The threads that calls have created and not deleted yet."""

    async def own_threads() -> list[str]:
        found = await http.post(
            "/threads/search", json={"metadata": OWN, "limit": 1000}
        )
        return [thread["thread_id"] for thread in found.json()]

    return own_threads


# --- Tools --------------------------------------------------------------------------
async def test_each_assistant_is_a_tool(connect: Opened) -> None:
    async with connect() as client:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}

    assert tools["chat"].description == "Streams four words."
    assert tools["echo"].input_schema["required"] == ["messages"]
    assert tools["functional"].input_schema["required"] == ["input"]
    assert tools["human"].output_schema["properties"]["answer"]["type"] == "string"
    assert tools["echo"].annotations.title == "echo"
    # A tool whose graph can't be built is listed, and returns an error when called.
    assert {"unmakeable", "waiting", "shapeless"} <= set(tools)


async def test_assistants_of_one_name_are_told_apart(
    connect: Opened, http: httpx.AsyncClient
) -> None:
    made = [
        (
            await http.post("/assistants", json={"graph_id": "echo", "name": "Twö"})
        ).json()
        for _ in range(2)
    ]

    async with connect() as client:
        names = {tool.name for tool in (await client.list_tools()).tools}

    for assistant in made:
        assert f"Tw__{assistant['assistant_id'][:8]}" in names
        await http.delete(f"/assistants/{assistant['assistant_id']}")


async def test_the_list_comes_in_pages(
    connect: Opened, http: httpx.AsyncClient
) -> None:
    made = await asyncio.gather(
        *(
            http.post("/assistants", json={"graph_id": "echo", "name": f"page-{n}"})
            for n in range(220)
        )
    )
    names: list[str] = []
    async with connect() as client:
        page = await client.list_tools()
        while True:
            names += [tool.name for tool in page.tools]
            if page.next_cursor is None:
                break
            page = await client.list_tools(cursor=page.next_cursor)

    assert {f"page-{n}" for n in range(220)} <= set(names)
    assert len(names) == len(set(names))
    for one in made:
        await http.delete(f"/assistants/{one.json()['assistant_id']}")


# --- Calls --------------------------------------------------------------------------
async def test_a_call_answers_json_that_fits_its_schema(connect: Opened) -> None:
    async with connect() as client:
        await client.list_tools()  # The client now validates results.

        result = await client.call_tool("echo", {"messages": "hello"})

    said = [message["content"] for message in result.structured_content["messages"]]
    assert said == ["hello", "echo: hello"]
    assert json.loads(text_of(result)) == result.structured_content


async def test_messages_may_be_given_whole(connect: Opened) -> None:
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}}
    content = [{"type": "text", "text": "see"}, image]
    messages = [{"role": "user", "content": content}]

    async with connect() as client:
        result = await client.call_tool("echo", {"messages": messages})

    assert result.structured_content["messages"][0]["content"] == content


async def test_what_is_no_object_is_wrapped(connect: Opened) -> None:
    async with connect() as client:
        await client.list_tools()

        result = await client.call_tool("functional", {"input": 4})

    assert result.structured_content == {"result": 8}


async def test_only_the_output_schema_is_shown(connect: Opened) -> None:
    async with connect() as client:
        result = await client.call_tool("secretive", {"question": "what?"})

    assert result.structured_content == {"answer": "nothing"}
    assert "hidden" not in text_of(result)


@pytest.mark.parametrize(
    ("tool", "arguments", "text"),
    [
        ("raises", {}, "ValueError: boom happened"),
        ("unmakeable", {}, "RuntimeError: no model today"),
        ("echo", {}, "'messages' is a required property"),
        ("echo", {"messages": 5}, "messages: 5 is not valid under any of the given"),
        ("echo", {"messages": "a", "thread_id": "b"}, "thread_id: it must be a UUID"),
        ("echo", {"resume": 1}, "resume: thread_id is required"),
    ],
)
async def test_a_failure_says_what_went_wrong(
    connect: Opened, tool: str, arguments: Any, text: str
) -> None:
    async with connect() as client:
        await client.list_tools()
        result = await client.call_tool(tool, arguments)

    assert result.is_error
    assert result.structured_content is None
    assert text_of(result).startswith(text)
    assert "Traceback" not in text_of(result)


async def test_an_unknown_tool_is_a_wrong_parameter(connect: Opened) -> None:
    async with connect() as client:
        with pytest.raises(MCPError, match="Unknown tool: nosuch") as raised:
            await client.call_tool("nosuch", {})

    assert raised.value.code == -32602


async def test_progress_is_that_of_the_run(connect: Opened) -> None:
    seen: list[Any] = []

    async def report(done: float, total: float | None, message: str | None) -> None:
        seen.append((done, total, message))

    async with connect() as client:
        await client.call_tool("slow", {"delay": 0.01}, progress_callback=report)

    assert seen == [(number, None, f"s{number}") for number in range(1, 6)]


async def test_a_call_keeps_nothing(
    connect: Opened, http: httpx.AsyncClient, own_threads: Any
) -> None:
    before = set(await own_threads())
    async with connect() as client:
        await client.call_tool("echo", {"messages": "hello"})
        await client.call_tool("raises", {})

    assert set(await own_threads()) <= before


async def test_a_thread_is_gone_on_with(
    connect: Opened, http: httpx.AsyncClient
) -> None:
    thread_id = (await http.post("/threads", json={})).json()["thread_id"]
    async with connect() as client:
        for text in ("one", "two"):
            result = await client.call_tool(
                "echo", {"messages": text, "thread_id": thread_id}
            )

    said = [message["content"] for message in result.structured_content["messages"]]
    assert said == ["one", "echo: one", "two", "echo: two"]
    assert (await http.get(f"/threads/{thread_id}")).status_code == 200


async def test_an_unknown_thread_is_a_failure(connect: Opened) -> None:
    async with connect() as client:
        result = await client.call_tool(
            "echo", {"messages": "a", "thread_id": str(uuid4())}
        )

    assert result.is_error
    assert text_of(result) == "Thread or assistant not found."


async def test_a_cancelled_call_cancels_its_run(
    connect: Opened, http: httpx.AsyncClient, file: Path
) -> None:
    hold(file, "2")
    thread_id = (await http.post("/threads", json={})).json()["thread_id"]
    has_begun = asyncio.Event()

    async def report(*progress: Any) -> None:
        has_begun.set()

    async with connect() as client:
        arguments = {"file": str(file), "delay": 0, "thread_id": thread_id}
        calling = asyncio.create_task(
            client.call_tool("steps", arguments, progress_callback=report)
        )
        await has_begun.wait()
        calling.cancel()
        with suppress(asyncio.CancelledError):
            await calling

        async def is_cancelled() -> bool:
            runs = (await http.get(f"/threads/{thread_id}/runs")).json()
            return [run["status"] for run in runs] == ["interrupted"]

        await until(is_cancelled)


# --- Interrupts ---------------------------------------------------------------------
async def test_the_clients_user_is_asked(connect: Opened, own_threads: Any) -> None:
    before, asked = set(await own_threads()), list[Any]()
    async with connect("surely", asked=asked) as client:
        await client.list_tools()
        result = await client.call_tool("human", {"topic": "tea"})

    assert result.structured_content == {
        "topic": "tea",
        "answer": "surely",
        "log": ["ask", "fin"],
    }
    assert json.loads(asked[0].message) == {"question": "approve?", "topic": "tea"}
    assert set(await own_threads()) <= before


async def test_parallel_interrupts_are_all_asked(connect: Opened) -> None:
    asked: list[Any] = []
    async with connect("x", "x", asked=asked) as client:
        result = await client.call_tool("par", {"log": []})

    assert sorted(one.message for one in asked) == ["qa", "qb"]
    assert result.structured_content == {"log": ["a:x", "b:x"]}


async def test_a_user_who_declines_ends_the_call(
    connect: Opened, own_threads: Any
) -> None:
    before = set(await own_threads())
    async with connect("decline") as client:
        result = await client.call_tool("human", {"topic": "tea"})

    assert result.is_error
    assert text_of(result) == "The user declined to answer."
    assert set(await own_threads()) <= before


async def test_a_user_may_answer_later(connect: Opened) -> None:
    async with connect("cancel", "now") as client:
        await client.list_tools()
        first = await client.call_tool("human", {"topic": "tea"})
        asked = first.structured_content
        second = await client.call_tool(
            "human", {"thread_id": asked["thread_id"], "resume": "now"}
        )

    assert asked["interrupts"][0]["value"]["question"] == "approve?"
    assert second.structured_content["answer"] == "now"


async def test_a_client_that_cannot_ask_gets_what_is_asked(
    connect: Opened, http: httpx.AsyncClient
) -> None:
    async with connect() as client:
        await client.list_tools()
        first = (await client.call_tool("par", {"log": []})).structured_content
        thread = (await http.get(f"/threads/{first['thread_id']}?include=ttl")).json()
        resume = {one["id"]: one["value"] for one in first["interrupts"]}
        answer = {"thread_id": first["thread_id"], "resume": resume}
        second = await client.call_tool("par", answer)
        third = await client.call_tool("par", answer)

    assert sorted(one["value"] for one in first["interrupts"]) == ["qa", "qb"]
    assert thread["ttl"]["ttl_minutes"] == 60
    assert thread["ttl"]["strategy"] == "delete"
    assert second.structured_content == {"log": ["a:qa", "b:qb"]}
    # The thread was answered, and therefore deleted.
    assert third.is_error
    assert (await http.get(f"/threads/{first['thread_id']}")).status_code == 404


# --- The states of 2026-07-28 -----------------------------------------------------------
async def ask(client: Client, tool: str, **arguments: Any) -> InputRequiredResult:
    result = await client.session.call_tool(tool, arguments, allow_input_required=True)
    assert isinstance(result, InputRequiredResult)
    return result


async def bring(
    client: Client, tool: str, asked: InputRequiredResult, **changes: Any
) -> CallToolResult:
    answers = {
        key: ElicitResult(action="accept", content={"response": "yes"})
        for key in asked.input_requests or {}
    }
    given = {"input_responses": answers, "request_state": asked.request_state}
    result = await client.session.call_tool(tool, {}, **(given | changes))
    assert isinstance(result, CallToolResult)
    return result


def answering(server: Server) -> Client:
    """A client of 2026-07-28; the test itself sends the answers."""

    async def elicit(context: Any, params: Any) -> ElicitResult:
        raise AssertionError("the test answers")

    return Client(f"{server.url}/mcp", mode=MODES[0], elicitation_callback=elicit)


async def test_an_answer_is_taken_once(server: Server) -> None:
    async with answering(server) as client:
        asked = await ask(client, "human", topic="tea")
        results = await asyncio.gather(
            *(bring(client, "human", asked) for _ in range(4))
        )
        late = await bring(client, "human", asked)

    taken = [one for one in results if not one.is_error]
    assert [one.structured_content["answer"] for one in taken] == ["yes"]
    assert late.is_error


@pytest.mark.parametrize(
    ("tool", "changes", "text"),
    [
        (
            "human",
            {"request_state": "forged"},
            "requestState: it is no longer valid",
        ),
        ("par", {}, "requestState: it belongs to another tool"),
        ("human", {"input_responses": {}}, "inputResponses: some interrupts"),
    ],
)
async def test_only_its_own_state_is_taken(
    server: Server, tool: str, changes: Any, text: str
) -> None:
    async with answering(server) as client:
        asked = await ask(client, "human", topic="tea")
        refused = await bring(client, tool, asked, **changes)
        taken = await bring(client, "human", asked)

    assert refused.is_error
    assert text_of(refused).startswith(text)
    assert not taken.is_error


async def test_a_change_of_the_list_is_heard_of(
    server: Server, http: httpx.AsyncClient
) -> None:
    async with (
        Client(f"{server.url}/mcp", mode=MODES[0]) as client,
        client.listen(tools_list_changed=True) as heard,
    ):
        made = (await http.post("/assistants", json={"graph_id": "echo"})).json()
        async with asyncio.timeout(WAIT_SECS):
            await anext(aiter(heard))
        await http.delete(f"/assistants/{made['assistant_id']}")
        async with asyncio.timeout(WAIT_SECS):
            await anext(aiter(heard))


# --- On the wire ----------------------------------------------------------------------
JSON = {"accept": "application/json, text/event-stream"}


def rpc(method: str, request_id: Any = 1, **params: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": request_id, "method": method, "params": params}


INITIALIZE = rpc(
    "initialize",
    protocolVersion="2025-11-25",
    capabilities={"elicitation": {}},
    clientInfo={"name": "test", "version": "1"},
)


async def test_a_session_is_known_to_all_processes(http: httpx.AsyncClient) -> None:
    begun = await http.post("/mcp", json=INITIALIZE, headers=JSON)
    session = {**JSON, "mcp-session-id": begun.headers["mcp-session-id"]}

    for headers, status in (
        (session, 200),
        ({**JSON, "mcp-session-id": "made-up"}, 404),
        (JSON, 200),
    ):
        pong = await http.post("/mcp", json=rpc("ping"), headers=headers)
        assert pong.status_code == status
    assert begun.json()["result"]["capabilities"] == {"tools": {"listChanged": False}}


async def test_an_unknown_version_is_answered_with_the_newest_before_2026(
    http: httpx.AsyncClient,
) -> None:
    asked = json.loads(json.dumps(INITIALIZE))
    asked["params"]["protocolVersion"] = "1999-01-01"

    answer = await http.post("/mcp", json=asked, headers=JSON)

    assert answer.json()["result"]["protocolVersion"] == "2025-11-25"


async def test_server_discover_names_the_version(http: httpx.AsyncClient) -> None:
    meta = {
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {},
    }
    headers = {
        **JSON,
        "mcp-protocol-version": "2026-07-28",
        "mcp-method": "server/discover",
    }

    answer = await http.post(
        "/mcp", json=rpc("server/discover", _meta=meta), headers=headers
    )

    result = answer.json()["result"]
    assert result["supportedVersions"] == ["2026-07-28"]
    assert result["capabilities"] == {"tools": {"listChanged": True}}


@pytest.mark.parametrize("method", ["GET", "DELETE", "PUT"])
async def test_there_is_no_stream_of_the_servers_own(
    http: httpx.AsyncClient, method: str
) -> None:
    answer = await http.request(method, "/mcp", headers=JSON)

    assert answer.status_code == 405
    assert "POST" in answer.headers["allow"]


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b"{", {}, 400),
        (b"[]", {}, 400),
        (json.dumps([rpc("ping")]).encode(), {}, 400),
        (b'{"jsonrpc": "2.0", "method": "notifications/initialized"}', {}, 202),
        (b'{"jsonrpc": "2.0", "id": "x", "result": {}}', {}, 202),
        (b"{}", {"content-type": "text/plain"}, 415),
        (b"{}", {"accept": "text/html"}, 406),
    ],
)
async def test_what_is_no_message_is_refused(
    http: httpx.AsyncClient, body: bytes, headers: dict[str, str], status: int
) -> None:
    given = {**JSON, "content-type": "application/json", **headers}

    answer = await http.post("/mcp", content=body, headers=given)

    assert answer.status_code == status


async def test_unknown_methods_and_parameters_are_errors(
    http: httpx.AsyncClient,
) -> None:
    codes = []
    for message in (
        rpc("nosuch/method"),
        rpc("resources/list"),
        rpc("tools/call"),
        rpc("tools/list", cursor="junk"),
    ):
        answer = await http.post("/mcp", json=message, headers=JSON)
        assert answer.status_code == 200
        codes.append(answer.json()["error"]["code"])

    assert codes == [-32601, -32601, -32602, -32602]


async def test_a_client_of_2025_that_leaves_cancels_nothing(
    http: httpx.AsyncClient,
) -> None:
    thread_id = (await http.post("/threads", json={})).json()["thread_id"]
    arguments = {"delay": 0.1, "thread_id": thread_id}
    message = rpc("tools/call", name="slow", arguments=arguments)
    message["params"]["_meta"] = {"progressToken": 1}

    async with http.stream("POST", "/mcp", json=message, headers=JSON) as stream:
        async for line in stream.aiter_lines():
            if "progress" in line:
                break

    run = (await http.get(f"/threads/{thread_id}/runs")).json()[0]
    await http.get(f"/threads/{thread_id}/runs/{run['run_id']}/join")
    run = (await http.get(f"/threads/{thread_id}/runs")).json()[0]
    assert run["status"] == "success"


# --- Two owners ---------------------------------------------------------------------
@pytest.fixture(scope="module")
def with_keys() -> Iterator[Server]:
    config = ROOT / "tests" / "graphs" / "langgraph.json"
    with serving(config, SPOOL_AUTH="api_key", SPOOL_MAX_RUNS_PER_OWNER="3") as server:
        yield server


@asynccontextmanager
async def client_of(
    server: Server, key: str, mode: str, answer: str | None = None
) -> AsyncIterator[Client]:
    async def elicit(context: Any, params: Any) -> ElicitResult:
        return ElicitResult(action="accept", content={"response": answer})

    headers = {"x-api-key": key}
    async with httpx2.AsyncClient(headers=headers, timeout=WAIT_SECS) as http:
        transport = streamable_http_client(f"{server.url}/mcp", http_client=http)
        callback = elicit if answer else None
        async with Client(
            transport, mode=mode, elicitation_callback=callback
        ) as client:
            yield client


async def test_bob_sees_nothing_of_alices(with_keys: Server, mode: str) -> None:
    keys = {name: new_key(with_keys, name) for name in ("alice", "bob")}
    headers = {"x-api-key": keys["alice"]}
    async with httpx.AsyncClient(
        base_url=with_keys.url, headers=headers, timeout=WAIT_SECS
    ) as http:
        made = {"graph_id": "human", "name": f"alices-{mode}"}
        await http.post("/assistants", json=made)
        thread_id = (await http.post("/threads", json={})).json()["thread_id"]
    async with (
        client_of(with_keys, keys["alice"], mode) as alice,
        client_of(with_keys, keys["bob"], mode) as bob,
    ):
        name, arguments = f"alices-{mode}", {"topic": "tea"}
        asked = (await alice.call_tool(name, arguments)).structured_content
        of_alice = {tool.name for tool in (await alice.list_tools()).tools}
        of_bob = {tool.name for tool in (await bob.list_tools()).tools}
        with pytest.raises(MCPError, match="Unknown tool"):
            await bob.call_tool(name, arguments)
        attempts = [
            await bob.call_tool("echo", {"messages": "hi", "thread_id": thread_id}),
            await bob.call_tool(
                "human", {"thread_id": asked["thread_id"], "resume": "mine"}
            ),
        ]
        answered = await alice.call_tool(
            name, {"thread_id": asked["thread_id"], "resume": "hers"}
        )

    assert name in of_alice
    assert not any(tool.startswith("alices") for tool in of_bob)
    assert all(attempt.is_error for attempt in attempts)
    assert all("not found" in text_of(attempt) for attempt in attempts)
    assert answered.structured_content["answer"] == "hers"


async def test_bob_cannot_answer_for_alice(with_keys: Server) -> None:
    """Not even with the ids of her session, her question and her call."""
    alice, bob = (
        httpx.AsyncClient(
            base_url=with_keys.url,
            headers={**JSON, "x-api-key": new_key(with_keys, name)},
            timeout=WAIT_SECS,
        )
        for name in ("alice", "bob")
    )
    async with alice, bob:
        begun = await alice.post("/mcp", json=INITIALIZE)
        session = {"mcp-session-id": begun.headers["mcp-session-id"]}
        call = rpc("tools/call", "call-1", name="human", arguments={"topic": "tea"})
        async with alice.stream("POST", "/mcp", json=call, headers=session) as stream:
            messages = (
                json.loads(line.removeprefix("data: "))
                async for line in stream.aiter_lines()
                if line.startswith("data: ")
            )
            question = await anext(messages)
            cancel = {
                "jsonrpc": "2.0",
                "method": "notifications/cancelled",
                "params": {"requestId": "call-1"},
            }
            await bob.post("/mcp", json=cancel, headers=session)
            for client, text in ((bob, "bob's"), (alice, "alice's")):
                answer = {
                    "jsonrpc": "2.0",
                    "id": question["id"],
                    "result": {"action": "accept", "content": {"response": text}},
                }
                taken = await client.post("/mcp", json=answer, headers=session)
                assert taken.status_code == 202
            last = await anext(messages)

    assert question["method"] == "elicitation/create"
    assert last["result"]["structuredContent"]["answer"] == "alice's"


async def test_the_limit_of_runs_is_told(with_keys: Server, file: Path) -> None:
    key = new_key(with_keys, "carol")
    let_go = hold(file, "1")
    given = {"file": str(file), "delay": 0}
    async with client_of(with_keys, key, MODES[0]) as client:
        calls = [
            asyncio.create_task(client.call_tool("steps", given)) for _ in range(5)
        ]
        await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
        let_go()
        results = await asyncio.gather(*calls)

    refused = [one for one in results if one.is_error]
    assert refused
    assert all("At most 3 runs at a time" in text_of(one) for one in refused)


async def test_a_key_that_may_only_look_lists_and_does_not_call(
    with_keys: Server,
) -> None:
    key = new_key(with_keys, "dave", "--scope", "assistants:read")
    async with client_of(with_keys, key, MODES[0]) as client:
        tools = (await client.list_tools()).tools
        result = await client.call_tool("echo", {"messages": "hi"})

    assert tools
    assert result.is_error
    assert text_of(result) == "Forbidden"


async def test_without_a_key_there_is_no_answer(with_keys: Server) -> None:
    answer = httpx.post(
        f"{with_keys.url}/mcp", json=INITIALIZE, headers=JSON, timeout=WAIT_SECS
    )

    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"
