"""Projects like public templates, served unchanged; see `tests/projects`.

Each has its own folder, and a coroutine here that uses it as its users do.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from langgraph_sdk import get_client
from langgraph_sdk.client import LangGraphClient
from langgraph_sdk.errors import AuthenticationError, NotFoundError

from spool.tests.live import WAIT_SECS, Server

pytestmark = pytest.mark.e2e

PROJECTS = Path(__file__).parents[1] / "projects"

Talk = Callable[[LangGraphClient, Server], Awaitable[None]]


@contextmanager
def served(folder: Path) -> Iterator[Server]:
    server = Server(folder / "langgraph.json", folder=folder)
    server.start()
    try:
        yield server
    finally:
        server.stop()


def human(text: str) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": text}]}


async def said(
    client: LangGraphClient, graph: str, text: str, thread: Any = None, **more: Any
) -> list[str]:
    """The texts of a run's messages."""
    values: Any = await client.runs.wait(thread, graph, input=human(text), **more)
    return [message["content"] for message in values["messages"]]


async def new_thread(client: LangGraphClient) -> str:
    return (await client.threads.create())["thread_id"]


async def talk_to_react_agent(client: LangGraphClient, server: Server) -> None:
    thread = await new_thread(client)

    plain = await said(client, "agent", "6 * 7?", thread)
    assert plain[2:] == [
        "42 (at most 10 results)",
        "fake/calculator says 42 (at most 10 results)",
    ]
    chosen = await said(client, "agent", "?", context={"model": "x", "unknown": 1})
    assert chosen[-1] == "x says 42 (at most 10 results)"
    assert (await said(client, "ReAct Agent", "by its name"))[-1] == plain[-1]
    [assistant] = await client.assistants.search()
    assert assistant["name"] == "ReAct Agent"
    schemas = await client.assistants.get_schemas(assistant["assistant_id"])
    properties: Any = schemas["context_schema"]["properties"]  # type: ignore[index]
    assert properties["model"]["default"] == "fake/calculator"


async def talk_to_memory_agent(client: LangGraphClient, server: Server) -> None:
    context = {"user_id": "ann"}

    for text in ("I like tea", "I own a zebra"):
        await said(client, "agent", text, context=context)
    answer = await said(client, "agent", "zebra zebra", context=context)
    other = await said(client, "agent", "zebra", context={"user_id": "bob"})

    assert answer[-1] == "You told me: I own a zebra"
    assert other[-1] == "You told me: nothing"
    [found] = (await client.store.search_items(("memories",), query="tea", limit=1))[
        "items"
    ]
    assert found["value"] == {"content": "I like tea"}


async def talk_to_deep_agent(client: LangGraphClient, server: Server) -> None:
    thread = await new_thread(client)

    asked: Any = await client.runs.wait(thread, "deep", input=human("whales"))
    state: Any = await client.threads.get_state(thread)
    resume = {"decisions": [{"type": "approve"}]}
    done: Any = await client.runs.wait(thread, "deep", command={"resume": resume})

    [interrupt] = asked["__interrupt__"]
    assert interrupt["value"]["action_requests"][0]["name"] == "publish"
    assert [one["status"] for one in state["values"]["todos"]] == [
        "completed",
        "in_progress",
    ]
    assert [m["content"] for m in done["messages"]][-2:] == [
        "published: Whales sleep.",
        "Done.",
    ]


async def talk_to_supervisor(client: LangGraphClient, server: Server) -> None:
    thread = await new_thread(client)

    events = [
        part
        async for part in client.runs.stream(
            thread,
            "supervisor",
            input=human("6 * 7, in words"),
            stream_mode=["updates", "values"],
            stream_subgraphs=True,
        )
    ]
    values: Any = (await client.threads.get_state(thread))["values"]

    answers = [m["content"] for m in values["messages"] if m["type"] == "ai"]
    assert [text for text in answers if text] == [
        "6 * 7 = 42",
        "Forty-two.",
        "All is done.",
    ]
    names = {part.event.partition(":")[0] for part in events}
    assert {"updates|supervisor", "updates|math", "updates|writer"} <= names


async def talk_to_swarm(client: LangGraphClient, server: Server) -> None:
    thread = await new_thread(client)

    first = await said(client, "swarm", "I want to talk to bob", thread)
    again = await said(client, "swarm", "are you there?", thread)

    assert first[-1] == again[-1] == "Ahoy, bob here."
    state: Any = await client.threads.get_state(thread)
    assert state["values"]["active_agent"] == "bob"
    # Alice has not answered again.
    assert again.count("to bob") == 1


async def talk_to_functional(client: LangGraphClient, server: Server) -> None:
    thread = await new_thread(client)

    answers = []
    topic: Any  # The client's types only allow objects.
    for topic in ("cats", "dogs"):
        asked: Any = await client.runs.wait(thread, "writer", input=topic)
        assert asked["__interrupt__"][0]["value"]["essay"] == f"an essay about {topic}"
        answers.append(
            await client.runs.wait(thread, "writer", command={"resume": "good"})
        )

    assert answers == [
        {"essay": f"an essay about {topic}", "review": "good", "words": 4, "before": n}
        for n, topic in enumerate(("cats", "dogs"))
    ]


async def talk_to_src_layout(client: LangGraphClient, server: Server) -> None:
    assert (await said(client, "echo", "hi"))[-1] == "echo: hi hi"
    [assistant] = await client.assistants.search()
    assert assistant["description"] == "Says it again."


async def talk_to_monorepo(client: LangGraphClient, server: Server) -> None:
    for graph in ("support", "other"):
        assert (await said(client, graph, "hi"))[-1] == "How can I help?"


async def talk_to_path_with_spaces(client: LangGraphClient, server: Server) -> None:
    assert (await said(client, "agent", "hi"))[-1] == "Hello there"


async def talk_to_requirements_file(client: LangGraphClient, server: Server) -> None:
    config: Any = {"configurable": {"model_name": "openai"}}

    assert (await said(client, "agent", "hi"))[-1] == "anthropic here"
    assert (await said(client, "agent", "hi", config=config))[-1] == "openai here"


async def talk_to_custom_auth(client: LangGraphClient, server: Server) -> None:
    def of(user: str) -> LangGraphClient:
        headers = {"Authorization": f"Bearer {user}-token"}
        return get_client(url=server.url, headers=headers)

    with pytest.raises(AuthenticationError):
        await new_thread(client)
    async with of("user1") as first, of("user2") as second:
        thread = await new_thread(first)
        assert (await said(first, "agent", "hi", thread))[-1] == "Hello user1 of free"
        assert (await said(second, "agent", "hi"))[-1] == "Hello user2 of paid"
        with pytest.raises(NotFoundError):
            await second.threads.get_state(thread)
        await first.store.put_item(("user1", "notes"), "a", {"text": "mine"})
        with pytest.raises(httpx.HTTPStatusError):
            await second.store.get_item(("user1", "notes"), "a")


async def talk_to_custom_lifespan(client: LangGraphClient, server: Server) -> None:
    hello = httpx.get(f"{server.url}/hello", timeout=WAIT_SECS)

    assert hello.json() == {"is_open": True, "assistants": ["agent"]}
    assert (
        httpx.get(f"{server.url}/info", timeout=WAIT_SECS).headers["x-served-by"]
        == "my app"
    )
    assert (await said(client, "agent", "hi"))[-1] == "Hello"


async def talk_to_fastapi_app(client: LangGraphClient, server: Server) -> None:
    async with httpx.AsyncClient(base_url=server.url, timeout=30) as http:
        asked = await http.post(
            "/api/ask", json={"text": "hi"}, headers={"x-tenant": "acme"}
        )
        wrong = await http.post("/api/ask", json={}, headers={"x-tenant": "acme"})
        nameless = await http.post("/api/ask", json={"text": "hi"})
        streamed = await http.get("/api/stream")
        paths = (await http.get("/openapi.json")).json()["paths"]

    assert asked.json() == {"text": "HI, ACME", "started": ["started"]}
    assert asked.headers["x-custom-header"] == "Hello from middleware!"
    assert (wrong.status_code, nameless.status_code) == (422, 400)
    assert streamed.text == "metadata updates end "
    assert {"/api/ask", "/threads"} <= set(paths)
    assert (await said(client, "agent", "hi"))[-1] == "HI"


async def talk_to_data_frame(client: LangGraphClient, server: Server) -> None:
    thread = await new_thread(client)
    rows: Any = [{"a": 1, "b": 10}, {"a": 2, "b": 20}]

    asked: Any = await client.runs.wait(thread, "analyst", input={"rows": rows})
    done: Any = await client.runs.wait(thread, "analyst", command={"resume": "b"})

    assert asked["__interrupt__"][0]["value"] == {"columns": ["a", "b"]}
    assert done["total"] == 30
    state: Any = await client.threads.get_state(thread)
    assert state["values"]["total"] == 30


TALKS: dict[str, Talk] = {
    "react_agent": talk_to_react_agent,
    "memory_agent": talk_to_memory_agent,
    "deep_agent": talk_to_deep_agent,
    "supervisor": talk_to_supervisor,
    "swarm": talk_to_swarm,
    "functional": talk_to_functional,
    "src_layout": talk_to_src_layout,
    "monorepo/apps": talk_to_monorepo,
    "path with spaces/my agents": talk_to_path_with_spaces,
    "requirements_file": talk_to_requirements_file,
    "custom_auth": talk_to_custom_auth,
    "custom_lifespan": talk_to_custom_lifespan,
    "fastapi_app": talk_to_fastapi_app,
    "data_frame": talk_to_data_frame,
}
# Since a start takes seconds, only `make test-long` tests the others.
ALWAYS = ("react_agent", "fastapi_app")


@pytest.mark.parametrize(
    "project",
    [
        one if one in ALWAYS else pytest.param(one, marks=pytest.mark.long)
        for one in TALKS
    ],
)
async def test_a_project_starts_unchanged_and_answers(project: str) -> None:
    with served(PROJECTS / project) as server:
        async with get_client(url=server.url) as client:
            await TALKS[project](client, server)


def test_each_project_is_tried() -> None:
    found = {
        str(p.parent.relative_to(PROJECTS)) for p in PROJECTS.rglob("langgraph.json")
    }

    assert found == set(TALKS)
