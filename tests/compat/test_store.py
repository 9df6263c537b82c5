"""The store with both official clients, and a graph that shares it."""

from __future__ import annotations

import asyncio
import inspect
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import datetime
from typing import Any

import pytest
from langgraph_sdk import get_client, get_sync_client
from langgraph_sdk.errors import BadRequestError, UnprocessableEntityError

from spool.tests.live import Server

pytestmark = pytest.mark.e2e

Call = Callable[..., Awaitable[Any]]


@pytest.fixture(params=["async", "sync"])
async def call(server: Server, request: pytest.FixtureRequest) -> AsyncIterator[Call]:
    """A function that calls a method of `client.store` by its name."""
    make: Any = get_client if request.param == "async" else get_sync_client
    client = make(url=server.url)

    async def one(name: str, *args: Any, **kwargs: Any) -> Any:
        result = getattr(client.store, name)(*args, **kwargs)
        return await result if inspect.isawaitable(result) else result

    yield one
    closed = client.aclose() if request.param == "async" else client.close()
    if closed is not None:
        await closed


@pytest.fixture
def root() -> str:
    """A namespace that no other test uses."""
    return f"compat {uuid.uuid4()}"


async def test_an_item_is_put_read_and_deleted(call: Call, root: str) -> None:
    put = await call("put_item", [root, "u1"], key="k", value={"likes": ["tea"]})
    item = await call("get_item", [root, "u1"], key="k")
    await call("delete_item", [root, "u1"], key="k")
    gone = await call("get_item", [root, "u1"], key="k")

    assert put is None
    assert (item["namespace"], item["key"]) == ([root, "u1"], "k")
    assert item["value"] == {"likes": ["tea"]}
    assert datetime.fromisoformat(item["updated_at"]).utcoffset() is not None
    assert gone is None


async def test_items_are_searched(call: Call, root: str) -> None:
    for number in range(12):
        value = {"n": number, "even": number % 2 == 0}
        await call("put_item", [root, str(number % 2)], key=f"{number}", value=value)

    whole = await call("search_items", [root])
    page = await call("search_items", [root], limit=3, offset=10)
    filtered = await call(
        "search_items", [root], filter={"even": True, "n": {"$gt": 5}}
    )
    below = await call("search_items", [root, "1"], limit=100)

    assert [item["key"] for item in whole["items"]] == [
        str(n) for n in range(11, 1, -1)
    ]
    assert [item["key"] for item in page["items"]] == ["1", "0"]
    assert {item["key"] for item in filtered["items"]} == {"6", "8", "10"}
    assert len(below["items"]) == 6
    assert {item["score"] for item in whole["items"]} == {None}


async def test_namespaces_are_listed(call: Call, root: str) -> None:
    for labels in (["a", "x"], ["a", "y"], ["b", "x"], ["b", "x", "deep"]):
        await call("put_item", [root, *labels], key="k", value={})

    whole = await call("list_namespaces", prefix=[root])
    matched = await call("list_namespaces", prefix=[root, "*", "x"], suffix=["x"])
    cut = await call("list_namespaces", prefix=[root], max_depth=2)
    page = await call("list_namespaces", prefix=[root], limit=1, offset=1)

    assert [labels[1:] for labels in whole["namespaces"]] == [
        *(["a", "x"], ["a", "y"], ["b", "x"], ["b", "x", "deep"])
    ]
    assert [labels[1:] for labels in matched["namespaces"]] == [["a", "x"], ["b", "x"]]
    assert [labels[1:] for labels in cut["namespaces"]] == [["a"], ["b"]]
    assert page["namespaces"] == [[root, "a", "y"]]


async def test_options_are_accepted(call: Call, root: str) -> None:
    await call("put_item", [root], key="k", value={"t": "x"}, index=False, ttl=60)
    await call("put_item", [root], key="l", value={"t": "x"}, index=["t"])

    item = await call("get_item", [root], key="k", refresh_ttl=False)
    found = await call("search_items", [root], query="x", refresh_ttl=True)

    assert item["value"] == {"t": "x"}
    assert {item["key"] for item in found["items"]} == {"k", "l"}


async def test_many_clients_write_one_item_at_once(server: Server, root: str) -> None:
    async with get_client(url=server.url) as client:
        store = client.store
        puts = [store.put_item([root], "k", value={"n": n}) for n in range(50)]
        deletes = [store.delete_item([root], "other") for _ in range(10)]
        others = [store.put_item([root], "other", value={}) for _ in range(10)]
        reads = [store.search_items([root]) for _ in range(10)]

        await asyncio.gather(*puts, *deletes, *others, *reads)

        item: Any = await store.get_item([root], "k")
        assert item["value"]["n"] in range(50)


async def test_errors_have_their_class(call: Call, root: str) -> None:
    with pytest.raises(BadRequestError, match="empty"):
        await call("put_item", [], key="k", value={})
    with pytest.raises(BadRequestError, match="langgraph"):
        await call("put_item", ["langgraph"], key="k", value={})
    with pytest.raises(UnprocessableEntityError):
        await call("put_item", [root, ""], key="k", value={})
    with pytest.raises(BadRequestError, match=r"Unsupported operator: \$in"):
        await call("search_items", [root], filter={"n": {"$in": [1]}})
    with pytest.raises(UnprocessableEntityError, match="limit"):
        await call("search_items", [root], limit=0)


async def test_a_graph_and_its_clients_share_the_items(server: Server) -> None:
    fact = f"fact {uuid.uuid4()}"

    def say(text: str) -> Any:
        return {"messages": [{"role": "user", "content": text}]}

    async with get_client(url=server.url) as client:
        threads = [(await client.threads.create())["thread_id"] for _ in range(2)]
        await client.runs.wait(threads[0], "memory", input=say(f"remember: {fact}"))
        item: Any = await client.store.get_item(["memories"], key=fact)
        value = {"fact": f"{fact}, and more"}
        await client.store.put_item(["memories"], key=fact, value=value)
        answer: Any = await client.runs.wait(threads[1], "memory", input=say("what?"))

    assert item["value"] == {"fact": fact}
    assert value["fact"] in answer["messages"][-1]["content"]
