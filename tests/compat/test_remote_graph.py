"""A graph on the server, used like a local one by `RemoteGraph`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from langgraph.pregel.remote import RemoteGraph
from langgraph_sdk import get_client

from spool.tests.live import Server

pytestmark = pytest.mark.e2e


@pytest.fixture
async def graph(server: Server) -> AsyncIterator[RemoteGraph]:
    async with get_client(url=server.url) as client:
        yield RemoteGraph("nested", client=client)


@pytest.fixture
async def config(graph: RemoteGraph) -> Any:
    """The config of a thread whose run was interrupted in a subgraph."""
    assert graph.client is not None
    thread = await graph.client.threads.create()
    config: Any = {"configurable": {"thread_id": thread["thread_id"]}}
    await graph.ainvoke({"topic": "stop"}, config)
    return config


async def test_it_is_drawn(graph: RemoteGraph) -> None:
    flat, deep = await graph.aget_graph(), await graph.aget_graph(xray=True)

    assert set(flat.nodes) == {"__start__", "pre", "child", "__end__"}
    assert {"child:sub_a", "child:sub_b"} < set(deep.nodes)
    assert "sub_a" in deep.draw_mermaid()


async def test_its_history_is_read(graph: RemoteGraph, config: Any) -> None:
    every = [state async for state in graph.aget_state_history(config)]
    before: Any = every[0].config
    older = [s async for s in graph.aget_state_history(config, before=before, limit=1)]
    wanted = {"step": 0}
    chosen = [s async for s in graph.aget_state_history(config, filter=wanted)]

    assert [state.next for state in every] == [("child",), ("pre",), ("__start__",)]
    assert older == every[1:2]
    assert chosen == every[1:2]
    assert await graph.aget_state(every[1].config) == every[1]


async def test_its_state_is_forked(graph: RemoteGraph, config: Any) -> None:
    [_, first, _] = [state async for state in graph.aget_state_history(config)]

    forked = await graph.aupdate_state(first.config, {"log": ["mine"]}, as_node="pre")

    state = await graph.aget_state(config)
    assert (
        state.config["configurable"]["checkpoint_id"]
        == (forked["configurable"]["checkpoint_id"])
    )
    assert state.values["log"] == ["mine"]
    assert state.next == ("child",)


async def test_a_subgraphs_state_is_updated(graph: RemoteGraph, config: Any) -> None:
    asked: Any = (await graph.aget_state(config, subgraphs=True)).tasks[0].state

    await graph.aupdate_state(asked.config, {"log": ["mine"]}, as_node="sub_b")
    done: Any = await graph.ainvoke(None, config)

    assert done["log"][-2:] == ["sub_a", "mine"]
    assert (await graph.aget_state(config)).next == ()


@pytest.mark.parametrize(
    ("as_node", "values", "after"),
    [
        ("__end__", None, ()),
        ("__copy__", None, ("child",)),
        ("__input__", {"topic": "go"}, ("__start__", "child")),
    ],
)
async def test_its_state_is_updated_as_langgraph_does(
    graph: RemoteGraph, config: Any, as_node: str, values: Any, after: tuple[str, ...]
) -> None:
    await graph.aupdate_state(config, values, as_node=as_node)

    assert (await graph.aget_state(config)).next == after
