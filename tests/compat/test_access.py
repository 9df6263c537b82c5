"""Two owners with the official client, on servers that require a login."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Awaitable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
from langgraph_sdk import get_client
from langgraph_sdk.client import LangGraphClient
from langgraph_sdk.errors import (
    AuthenticationError,
    ConflictError,
    NotFoundError,
    PermissionDeniedError,
)

from spool.tests.live import ROOT, WAIT_SECS, Server, new_key, serving

pytestmark = pytest.mark.e2e

CUSTOM = Path(__file__).parents[1] / "graphs" / "auth.langgraph.json"
HI = {"messages": [{"role": "user", "content": "hi"}]}


def say(text: str) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": text}]}


async def assert_missing(attempt: Awaitable[Any]) -> None:
    # `wait` raises httpx's exception.
    with pytest.raises((NotFoundError, httpx.HTTPStatusError)) as raised:
        await attempt
    assert raised.value.response.status_code == 404


@pytest.fixture(scope="module")
def with_keys() -> Iterator[Server]:
    """A server with the examples and API keys."""
    with serving(ROOT / "examples" / "langgraph.json", SPOOL_AUTH="api_key") as server:
        yield server


@pytest.fixture(scope="module")
def with_handlers() -> Iterator[Server]:
    """A server with `auth.path` in langgraph.json."""
    with serving(CUSTOM) as server:
        yield server


@pytest.fixture(params=["keys", "handlers"])
async def people(request: pytest.FixtureRequest) -> AsyncIterator[Any]:
    """Alice's client and bob's, on a server of each kind."""
    kind: str = request.param
    server: Server = request.getfixturevalue(f"with_{kind}")
    async with AsyncExitStack() as stack:
        clients = []
        for name in ("alice", "bob"):
            if kind == "keys":
                made = get_client(url=server.url, api_key=new_key(server, name))
            else:
                headers = {"Authorization": f"Bearer token-of-{name}"}
                made = get_client(url=server.url, headers=headers)
            clients.append(await stack.enter_async_context(made))
        yield clients


async def test_without_credentials_there_is_no_answer(
    with_keys: Server, with_handlers: Server
) -> None:
    for server in (with_keys, with_handlers):
        async with get_client(url=server.url, api_key=None) as client:
            with pytest.raises(AuthenticationError):
                await client.threads.search()


async def test_a_thread_is_its_owners(people: Any) -> None:
    alice, bob = people
    thread = await alice.threads.create(metadata={"owner": "bob"}, graph_id="chat")
    thread_id = thread["thread_id"]
    values = await alice.runs.wait(thread_id, "chat", input=HI)

    assert thread["metadata"]["owner"] == "alice"
    assert values["messages"]
    for attempt in (
        bob.threads.get(thread_id),
        bob.threads.get_state(thread_id),
        bob.threads.get_history(thread_id),
        bob.threads.update(thread_id, metadata={"owner": "bob"}),
        bob.threads.delete(thread_id),
        bob.runs.list(thread_id),
        bob.runs.create(thread_id, "chat", input=HI),
        bob.runs.create(thread_id, "chat", input=HI, if_not_exists="create"),
        bob.runs.wait(thread_id, "chat", input=HI),
    ):
        await assert_missing(attempt)
    with pytest.raises(ConflictError):
        await bob.threads.copy(thread_id)
    mine = await bob.threads.search(metadata={"owner": "alice"}, limit=1000)
    assert thread_id not in {row["thread_id"] for row in mine}


async def test_streams_are_their_owners(people: Any) -> None:
    alice, bob = people
    thread_id = (await alice.threads.create())["thread_id"]
    run = await alice.runs.create(thread_id, "chat", input=HI, stream_resumable=True)
    await alice.runs.join(thread_id, run["run_id"])

    mine = alice.runs.join_stream(thread_id, run["run_id"], last_event_id="-1")
    theirs = bob.runs.join_stream(thread_id, run["run_id"], last_event_id="-1")

    assert "values" in [part.event async for part in mine]
    assert [part.event async for part in theirs] == ["error"]
    with pytest.raises(NotFoundError):
        await bob.runs.cancel(thread_id, run["run_id"])


async def test_a_stream_tells_nothing_of_who_takes_the_threads_id(people: Any) -> None:
    alice, bob = people
    thread_id = (await alice.threads.create())["thread_id"]
    await alice.runs.wait(thread_id, "chat", input=say("only alice knows 4711"))
    watching = await alice.threads.join_stream(thread_id, last_event_id="0")
    first = await anext(watching)
    hearing = asyncio.create_task(whole(watching))

    await alice.threads.delete(thread_id)
    await bob.threads.create(thread_id=thread_id)
    await bob.runs.wait(thread_id, "chat", input=say("only bob knows 4712"))

    heard = [first, *await asyncio.wait_for(hearing, timeout=WAIT_SECS)]
    of_bob = await bob.threads.join_stream(thread_id, last_event_id="0")
    told = json.dumps(await until_done(of_bob))
    assert "4712" not in json.dumps(heard)
    assert "4712" in told
    assert "4711" not in told


async def whole(stream: AsyncIterator[Any]) -> list[Any]:
    return [part async for part in stream]


# --- Many at once -----------------------------------------------------------------------
USERS, ANSWERS = 50, 10
NAMED = re.compile(r"user-\d+")


async def test_interleaved_users_hear_only_of_themselves(
    with_handlers: Server,
) -> None:
    """50 users send 550 requests at once: states, histories, streams of all kinds."""
    async with AsyncExitStack() as stack:
        people = {
            name: await stack.enter_async_context(
                get_client(
                    url=with_handlers.url,
                    headers={"Authorization": f"Bearer token-of-{name}"},
                )
            )
            for name in (f"user-{number}" for number in range(USERS))
        }
        heard = await asyncio.gather(*(talk(name, me) for name, me in people.items()))

    assert len(heard) == USERS
    for name, answers in zip(people, heard, strict=True):
        named = [set(NAMED.findall(json.dumps(one))) for one in answers]
        assert named == [{name}] * ANSWERS


async def talk(name: str, me: LangGraphClient) -> list[Any]:
    """The responses to a user's requests; those with a body must name that user."""
    thread = await me.threads.create(metadata={"owner": "user-0", "graph_id": "echo"})
    thread_id = thread["thread_id"]
    streamed = [
        part
        async for part in me.runs.stream(
            thread_id, "echo", input=say(f"I am {name}."), stream_resumable=True
        )
    ]
    [run] = await me.runs.list(thread_id)
    joined = me.runs.join_stream(thread_id, run["run_id"], last_event_id="-1")
    of_thread = await me.threads.join_stream(thread_id, last_event_id="0")
    told = await me.runs.wait(None, "reveal", input={})
    await me.store.put_item(["notes"], "me", value={"by": name})
    return [
        thread,
        streamed,
        run,
        [part async for part in joined],
        await until_done(of_thread),
        told,
        await me.threads.get_state(thread_id),
        await me.threads.get_history(thread_id),
        await me.threads.search(limit=1000),
        await me.store.search_items([]),
    ]


async def until_done(stream: AsyncIterator[Any]) -> list[Any]:
    parts = []
    async for part in stream:
        parts.append(part)
        if isinstance(part.data, dict) and part.data.get("status") == "run_done":
            break
    return parts


async def test_assistants_and_crons_are_their_owners(people: Any) -> None:
    alice, bob = people
    assistant = await alice.assistants.create("chat", name="private")
    cron = await alice.crons.create("chat", schedule="0 0 1 1 *", input=HI)

    assistant_id = assistant["assistant_id"]
    for attempt in (
        bob.assistants.get(assistant_id),
        bob.assistants.update(assistant_id, name="taken"),
        bob.runs.wait(None, assistant_id, input=HI),
        bob.crons.delete(cron["cron_id"]),
    ):
        await assert_missing(attempt)
    assert await bob.crons.search() == []
    assert await alice.crons.count() >= 1


async def test_the_store_is_its_owners(people: Any) -> None:
    alice, bob = people
    await alice.store.put_item(["notes"], "k", value={"by": "alice"})

    assert await bob.store.get_item(["notes"], "k") is None
    assert (await bob.store.search_items([]))["items"] == []
    assert (await bob.store.list_namespaces())["namespaces"] == []
    assert (await alice.store.get_item(["notes"], "k"))["value"] == {"by": "alice"}


async def test_graphs_remember_for_their_owner(with_keys: Server) -> None:
    answers = []
    for name, text in (
        ("alice", "remember: I like tea"),
        ("alice", "what?"),
        ("bob", "what?"),
    ):
        async with get_client(
            url=with_keys.url, api_key=new_key(with_keys, name)
        ) as me:
            values: Any = await me.runs.wait(None, "memory", input=say(text))
            answers.append(values["messages"][-1]["content"])

    assert answers[1:] == ["I know: I like tea", "I know nothing yet."]


async def test_crons_remember_for_their_owner(with_keys: Server) -> None:
    url = with_keys.url
    async with (
        get_client(url=url, api_key=new_key(with_keys, "alice")) as alice,
        get_client(url=url, api_key=new_key(with_keys, "dora")) as dora,
    ):
        cron: Any = await dora.crons.create(
            "memory", schedule="* * * * * *", input=say("remember: a secret")
        )
        async with asyncio.timeout(WAIT_SECS):
            while await dora.store.get_item(["memories"], "a secret") is None:
                await asyncio.sleep(0.1)
        await dora.crons.delete(cron["cron_id"])

        assert await alice.store.get_item(["memories"], "a secret") is None


async def test_a_key_does_only_what_its_scopes_say(with_keys: Server) -> None:
    key = new_key(with_keys, "carol", "--scope", "threads:read")

    async with get_client(url=with_keys.url, api_key=key) as carol:
        assert await carol.threads.search() == []
        with pytest.raises(PermissionDeniedError):
            await carol.threads.create()


async def test_a_handlers_no_is_a_403(with_handlers: Server) -> None:
    headers = {"Authorization": "Bearer token-of-alice"}
    async with get_client(url=with_handlers.url, headers=headers) as alice:
        made = await alice.assistants.create("chat")
        with pytest.raises(PermissionDeniedError):
            await alice.assistants.delete(made["assistant_id"])


def test_the_servers_own_pages_are_public(with_keys: Server) -> None:
    for path in ("/ok", "/info", "/metrics", "/docs", "/openapi.json"):
        assert httpx.get(with_keys.url + path, timeout=WAIT_SECS).status_code == 200
    assert httpx.get(with_keys.url + "/nothing", timeout=WAIT_SECS).status_code == 401
