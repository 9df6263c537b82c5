"""Every method of the official Python clients for assistants."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any, get_args

import pytest
from langgraph_sdk._async.assistants import AssistantsClient
from langgraph_sdk.errors import (
    BadRequestError,
    ConflictError,
    NotFoundError,
    UnprocessableEntityError,
)
from langgraph_sdk.schema import AssistantSelectField, AssistantSortBy

pytestmark = pytest.mark.e2e

ECHO = "046b5dc7-2108-582c-9c6c-31d556d138f0"


@pytest.fixture
def mark() -> dict[str, str]:
    """Metadata that only this test's assistants have."""
    return {"mark": uuid.uuid4().hex}


def test_no_call_is_left_out() -> None:
    called = Path(__file__).read_text()

    public = [name for name in vars(AssistantsClient) if not name.startswith("_")]

    assert [name for name in public if f"assistants.{name}(" not in called] == []


async def test_an_assistant_is_created_and_read(client: Any, mark: Any) -> None:
    assistant_id = str(uuid.uuid4())

    created = await client.assistants.create(
        "echo",
        config={"tags": ["t"], "recursion_limit": 9},
        context={"model": "m"},
        metadata=mark,
        assistant_id=assistant_id,
        if_exists="raise",
        name="Mine",
        description="Echoes.",
    )

    assert created == await client.assistants.get(assistant_id)
    assert created["assistant_id"] == assistant_id
    assert created["config"]["recursion_limit"] == 9
    assert created["config"]["configurable"] == created["context"] == {"model": "m"}
    assert (created["name"], created["description"]) == ("Mine", "Echoes.")
    assert (created["metadata"], created["version"]) == (mark, 1)


async def test_an_assistant_is_created_once(client: Any, mark: Any) -> None:
    created = await client.assistants.create("echo", metadata=mark)
    again = {"assistant_id": created["assistant_id"]}

    kept = await client.assistants.create("human", **again, if_exists="do_nothing")

    assert kept == created
    with pytest.raises(ConflictError, match="already exists"):
        await client.assistants.create("echo", **again)
    with pytest.raises(NotFoundError, match="echo"):
        await client.assistants.create("no-such-graph")
    with pytest.raises(BadRequestError):
        await client.assistants.create(
            "echo", config={"configurable": {"a": 1}}, context={"b": 2}
        )


async def test_an_assistant_has_versions(client: Any, mark: Any) -> None:
    created = await client.assistants.create("echo", name="One", metadata=mark)
    assistant_id = created["assistant_id"]

    changed = await client.assistants.update(
        assistant_id,
        graph_id="human",
        config={"tags": ["t"]},
        metadata={"more": True},
        name="Two",
        description="Second.",
    )
    context = await client.assistants.update(assistant_id, context={"a": 1})
    versions = await client.assistants.get_versions(assistant_id)
    second = await client.assistants.get_versions(
        assistant_id, metadata={"more": True}, limit=1, offset=1
    )
    back = await client.assistants.set_latest(assistant_id, 1)

    assert (changed["version"], context["version"]) == (2, 3)
    assert changed["metadata"] == {**mark, "more": True}
    assert context["config"] == {"tags": ["t"], "configurable": {"a": 1}}
    assert [version["version"] for version in versions] == [3, 2, 1]
    assert second == versions[1:2]
    assert (back["name"], back["graph_id"], back["version"]) == ("One", "echo", 1)
    assert back == await client.assistants.get(assistant_id)
    with pytest.raises(NotFoundError, match="Version 9 not found"):
        await client.assistants.set_latest(assistant_id, 9)


async def test_assistants_are_searched_and_counted(client: Any, mark: Any) -> None:
    names = ["b", "a", "c"]
    for name in names:
        await client.assistants.create("human", name=name, metadata=mark)

    newest = await client.assistants.search(metadata=mark)
    pages = await client.assistants.search(
        metadata=mark, limit=2, response_format="object"
    )
    rest = await client.assistants.search(metadata=mark, offset=int(pages["next"]))
    one = await client.assistants.search(metadata=mark, name="B", graph_id="human")
    none = await client.assistants.search(metadata=mark, graph_id="echo")
    by_name = await client.assistants.search(
        metadata=mark, sort_by="name", sort_order="asc", select=["name"]
    )

    assert [found["name"] for found in newest] == names[::-1]
    assert [found["name"] for found in pages["assistants"]] == ["c", "a"]
    assert [found["name"] for found in rest] == ["b"]
    assert [found["name"] for found in one] == ["b"]
    assert none == []
    assert by_name == [{"name": "a"}, {"name": "b"}, {"name": "c"}]
    assert await client.assistants.count(metadata=mark) == 3
    assert await client.assistants.count(metadata=mark, name="A") == 1
    assert await client.assistants.count(metadata=mark, graph_id="echo") == 0


async def test_everything_the_client_sorts_by_and_selects(
    client: Any, mark: Any
) -> None:
    await client.assistants.create("echo", metadata=mark)
    fields = get_args(AssistantSelectField)

    for sort_by in get_args(AssistantSortBy):
        [row] = await client.assistants.search(
            metadata=mark, sort_by=sort_by, select=list(fields)
        )
        assert set(row) == set(fields)


async def test_a_graph_is_drawn(client: Any) -> None:
    flat = await client.assistants.get_graph("nested")
    deep = await client.assistants.get_graph("nested", xray=True)
    one = await client.assistants.get_graph("nested", xray=1)

    assert [node["id"] for node in flat["nodes"]][1:3] == ["pre", "child"]
    assert "child:sub_a" in [node["id"] for node in deep["nodes"]]
    assert one == deep
    with pytest.raises(UnprocessableEntityError, match="xray"):
        await client.assistants.get_graph("nested", xray=-1)


async def test_schemas_are_told(client: Any) -> None:
    [nested] = await client.assistants.search(graph_id="nested", name="nested")

    schemas = await client.assistants.get_schemas(nested["assistant_id"])
    subgraphs = await client.assistants.get_subgraphs(
        nested["assistant_id"], recurse=True
    )
    child = await client.assistants.get_subgraphs(nested["assistant_id"], "child")

    assert schemas["graph_id"] == "nested"
    assert "topic" in schemas["input_schema"]["properties"]
    assert "user_name" in schemas["context_schema"]["properties"]
    assert subgraphs == child
    assert "log" in child["child"]["state_schema"]["properties"]


async def test_an_assistant_is_deleted(client: Any, mark: Any) -> None:
    created = await client.assistants.create("echo", metadata=mark)
    assistant_id = created["assistant_id"]

    await client.assistants.delete(assistant_id)

    for call in (client.assistants.get, client.assistants.delete):
        with pytest.raises(NotFoundError):
            await call(assistant_id)
    with pytest.raises(UnprocessableEntityError, match="must be a UUID"):
        await client.assistants.get("echo")
    assert (await client.assistants.get(ECHO))["name"] == "echo"


@pytest.mark.parametrize("delete_threads", [True, False])
async def test_an_assistant_is_deleted_with_its_threads(
    client: Any, mark: Any, delete_threads: bool
) -> None:
    created = await client.assistants.create("echo", metadata=mark)
    thread = await client.threads.create()
    await client.runs.wait(
        thread["thread_id"], created["assistant_id"], input={"messages": []}
    )

    await client.assistants.delete(
        created["assistant_id"], delete_threads=delete_threads
    )

    left = await client.threads.search(ids=[thread["thread_id"]])
    assert len(left) == (0 if delete_threads else 1)
