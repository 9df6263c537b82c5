"""Responses to the official clients, including their order, and hidden values."""

from __future__ import annotations

from typing import Any

import pytest
from langgraph.pregel.remote import RemoteGraph
from langgraph_sdk import get_client

from spool.tests.live import Server

pytestmark = pytest.mark.e2e

WHOLE = {"answer": "HI", "question": "hi", "secret": "not for clients"}
HI = {"question": "hi"}


async def test_private_state_stays_on_the_server(client: Any, thread_id: str) -> None:
    modes = ["values", "updates"]

    answer = await client.runs.wait(thread_id, "private_state", input=HI)
    stateless = await client.runs.wait(None, "private_state", input=HI)
    streamed = [
        (part.event, part.data)
        for part in await _all(
            client.runs.stream(None, "private_state", input=HI, stream_mode=modes)
        )
    ]
    state = await client.threads.get_state(thread_id)
    thread = await client.threads.get(thread_id)

    assert answer == stateless == {"answer": "HI"}
    assert ("updates", {"think": None}) in streamed
    assert ("updates", {"speak": {"answer": "HI"}}) in streamed
    assert ("values", {"answer": "HI"}) in streamed
    assert "not for clients" not in str(streamed)
    assert state["values"] == thread["values"] == WHOLE


async def test_a_join_shows_all_of_the_state_once_the_run_is_over(
    client: Any, thread_id: str
) -> None:
    run = await client.runs.create(thread_id, "private_state", input=HI)
    await client.runs.join(thread_id, run["run_id"])

    assert await client.runs.join(thread_id, run["run_id"]) == WHOLE


async def test_a_remote_graph_shows_what_the_graph_itself_would(server: Server) -> None:
    async with get_client(url=server.url) as client:
        remote = RemoteGraph("private_state", client=client)

        assert await remote.ainvoke(HI) == {"answer": "HI"}


@pytest.mark.parametrize("body", [{}, {"context": {"model": "m", "zzz": 1}}])
async def test_a_context_has_the_defaults_of_its_schema(client: Any, body: Any) -> None:
    answer = await client.runs.wait(None, "dataclass_context", input={}, **body)

    assert answer == {"seen": ["m" if body else "default-model"]}


async def test_the_settings_form_gets_the_schema_of_the_context(client: Any) -> None:
    schemas = {}
    for graph in ("dataclass_context", "private_state"):
        [assistant] = await client.assistants.search(graph_id=graph)
        schemas[graph] = await client.assistants.get_schemas(assistant["assistant_id"])

    with_context = schemas["dataclass_context"]
    assert with_context["config_schema"] == with_context["context_schema"]
    assert with_context["config_schema"]["properties"] == {
        "model": {"default": "default-model", "title": "Model", "type": "string"}
    }
    assert schemas["private_state"]["config_schema"] == {}


async def test_interrupts_keep_the_order_of_their_tasks(
    client: Any, thread_id: str
) -> None:
    asking = {"questions": list("abcd")}
    answer = await client.runs.wait(thread_id, "ask_in_parallel", input=asking)
    thread = await client.threads.get(thread_id)
    state = await client.threads.get_state(thread_id)

    of_thread = [one for task in thread["interrupts"].values() for one in task]
    for interrupts in (answer["__interrupt__"], of_thread, state["interrupts"]):
        assert [one["value"] for one in interrupts] == list("abcd")


async def test_what_a_client_calls_its_user_stays(client: Any) -> None:
    config = {"configurable": {"user_id": "u1", "langgraph_auth_user_id": "root"}}

    answer = await client.runs.wait(None, "configurable", input={}, config=config)

    assert answer["out"]["configurable"]["user_id"] == "u1"
    assert answer["out"]["context"] == {"user_id": "u1"}
    assert "root" not in str(answer)


async def _all(stream: Any) -> list[Any]:
    if hasattr(stream, "__aiter__"):
        return [part async for part in stream]
    return list(await stream)


async def test_a_state_that_can_not_be_stored_says_where_and_why(
    client: Any, thread_id: str
) -> None:
    failed = await client.runs.wait(
        thread_id, "values", input={"kind": "plain"}, raise_error=False
    )

    message = failed["__error__"]["message"]
    assert "'out'" in message
    assert "Plain" in message
    assert "checkpointer.serde.pickle_fallback" in message
