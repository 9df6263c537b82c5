"""Graphs of all kinds, as applications see them with both Python clients."""

from __future__ import annotations

from typing import Any

import pytest
from langgraph_sdk.errors import NotFoundError

pytestmark = pytest.mark.e2e

BOOM = {"error": "ValueError", "message": "boom happened"}


async def streamed(client: Any, *args: Any, **kwargs: Any) -> list[tuple[str, Any]]:
    """The events of a run, without those that every run has."""
    stream = client.runs.stream(*args, **kwargs)
    found = (
        [part async for part in stream]
        if hasattr(stream, "__aiter__")
        else list(await stream)
    )
    own = [part for part in found if part.event not in ("metadata", "end")]
    return [(part.event, part.data) for part in own]


def names(events: list[tuple[str, Any]]) -> list[str]:
    return [name for name, _ in events]


# --- The functional API -------------------------------------------------------------
@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("values", [("values", 6)]),
        ("updates", [("updates", {"double": 6}), ("updates", {"functional": 6})]),
        ("custom", [("custom", {"doubling": 3})]),
    ],
)
async def test_a_function_is_streamed(
    client: Any, thread_id: str, mode: Any, expected: Any
) -> None:
    events = await streamed(client, thread_id, "functional", input=3, stream_mode=mode)

    assert events == expected


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("messages", ["messages/metadata", *["messages/partial"] * 5]),
        ("messages-tuple", ["messages"] * 5),
        ("tasks", ["tasks"] * 4),
        ("checkpoints", ["checkpoints"] * 2),
        ("debug", ["debug"] * 6),
        (
            ["custom", "values", "updates", "messages-tuple"],
            ["custom", *["messages"] * 5, "updates", "updates", "values"],
        ),
    ],
)
async def test_a_function_is_streamed_in_every_mode(
    client: Any, thread_id: str, mode: Any, expected: list[str]
) -> None:
    events = await streamed(client, thread_id, "functional", input=3, stream_mode=mode)

    assert names(events) == expected


async def test_the_events_of_a_function_are_streamed(
    client: Any, thread_id: str
) -> None:
    events = await streamed(
        client, thread_id, "functional", input=3, stream_mode="events"
    )

    assert set(names(events)) == {"events"}
    told = {(data["event"], data["name"]) for _, data in events}
    assert ("on_chat_model_stream", "GenericFakeChatModel") in told
    assert ("on_chain_end", "functional") in told


async def test_a_function_remembers_asks_and_goes_on(
    client: Any, thread_id: str
) -> None:
    first = await client.runs.wait(thread_id, "functional", input=3)
    second = await client.runs.wait(thread_id, "functional", input=3)
    asked = await client.runs.wait(thread_id, "functional", input=0)
    waiting = await client.threads.get(thread_id)
    answered = await client.runs.wait(thread_id, "functional", command={"resume": 5})
    done = await client.threads.get(thread_id)

    assert (first, second, answered) == (6, 12, 17)
    assert [one["value"] for one in asked["__interrupt__"]] == ["which?"]
    assert waiting["status"] == "interrupted"
    [[interrupt]] = waiting["interrupts"].values()
    assert interrupt["value"] == "which?"
    assert (done["status"], done["values"]) == ("idle", 17)


# --- Several interrupts ---------------------------------------------------------------
async def test_parallel_interrupts_are_answered_by_their_ids(
    client: Any, thread_id: str
) -> None:
    asked = await client.runs.wait(thread_id, "par", input={})
    ids = {one["value"]: one["id"] for one in asked["__interrupt__"]}
    one = await client.runs.wait(thread_id, "par", command={"resume": {ids["qb"]: "B"}})
    waiting = await client.threads.get(thread_id)
    both = await client.runs.wait(
        thread_id, "par", command={"resume": {ids["qa"]: "A"}}
    )

    assert set(ids) == {"qa", "qb"}
    assert [left["id"] for left in one["__interrupt__"]] == [ids["qa"]]
    assert waiting["status"] == "interrupted"
    assert both == {"log": ["a:A", "b:B"]}
    assert (await client.threads.get(thread_id))["status"] == "idle"


async def test_an_answer_to_one_of_several_has_to_say_to_which(
    client: Any, thread_id: str
) -> None:
    asked = await client.runs.wait(thread_id, "par", input={})

    refused = await client.runs.wait(
        thread_id, "par", command={"resume": "A"}, raise_error=False
    )
    answers = {one["id"]: one["value"] for one in asked["__interrupt__"]}
    answered = await client.runs.wait(thread_id, "par", command={"resume": answers})

    assert "you must specify the interrupt id" in refused["__error__"]["message"]
    assert answered == {"log": ["a:qa", "b:qb"]}


async def test_an_interrupt_of_a_subgraph_is_answered(
    client: Any, thread_id: str
) -> None:
    asked = await client.runs.wait(thread_id, "nested", input={"topic": "stop"})
    events = await streamed(
        client,
        thread_id,
        "nested",
        command={"resume": "yes"},
        stream_mode="updates",
        stream_subgraphs=True,
    )

    assert [one["value"] for one in asked["__interrupt__"]] == ["sub question"]
    assert [name.partition(":")[0] for name in names(events)] == [
        "updates|child",
        "updates",
    ]
    assert events[0][1] == {"sub_b": {"log": ["sub_b:yes"]}}


# --- Failure --------------------------------------------------------------------------
async def test_a_node_that_fails_ends_those_beside_it(
    client: Any, thread_id: str
) -> None:
    events = await streamed(
        client, thread_id, "beside", input={}, stream_mode=["updates", "tasks"]
    )
    thread = await client.threads.get(thread_id)
    state = await client.threads.get_state(thread_id)

    assert events[-1] == ("error", BOOM)
    assert ("updates", {"first": {"log": ["first"]}}) in events
    ends = [data for name, data in events if name == "tasks" and "error" in data]
    assert [(end["name"], end["error"]) for end in ends] == [
        ("first", None),
        ("boom", BOOM),
    ]
    assert (thread["status"], thread["error"]) == ("error", BOOM)
    assert thread["values"] == state["values"] == {"log": ["first"]}
    assert set(state["next"]) == {"long", "boom"}


async def test_a_node_is_tried_again_where_its_policy_says_so(
    client: Any, thread_id: str
) -> None:
    events = await streamed(
        client, thread_id, "unsteady", input={}, stream_mode=["updates", "tasks"]
    )

    assert names(events) == ["tasks", "updates", "tasks"]
    assert events[-1][1]["error"] is None
    [run] = await client.runs.list(thread_id)
    assert run["status"] == "success"


# --- Subgraphs ------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("graph", "mode", "expected"),
    [
        # Both kinds of message events, except the kind that has no namespaces.
        ("subchat", "messages", {"messages/metadata", "messages/partial"}),
        ("subchat", "messages-tuple", {"messages|sub"}),
        ("nested", "checkpoints", {"checkpoints", "checkpoints|child"}),
        ("nested", "debug", {"debug", "debug|child"}),
        ("nested", "events", {"events"}),
        (
            "nested",
            ["values", "updates", "custom", "tasks", "events"],
            {
                *("values", "updates", "tasks", "events"),
                *("values|child", "updates|child", "custom|child", "tasks|child"),
            },
        ),
    ],
)
async def test_subgraphs_are_streamed_with_their_namespace(
    client: Any, thread_id: str, graph: str, mode: Any, expected: set[str]
) -> None:
    hi = {"messages": [{"role": "user", "content": "hi"}], "topic": "x"}

    events = await streamed(
        client, thread_id, graph, input=hi, stream_mode=mode, stream_subgraphs=True
    )

    assert {name.partition(":")[0] for name in names(events)} == expected


async def test_debug_events_name_the_checkpoints_of_subgraphs(
    client: Any, thread_id: str
) -> None:
    events = await streamed(
        client,
        thread_id,
        "nested",
        input={"topic": "x"},
        stream_mode="debug",
        stream_subgraphs=True,
    )

    payloads = [
        (name, data["payload"]) for name, data in events if data["type"] == "checkpoint"
    ]
    tasks = [task for name, p in payloads if name == "debug" for task in p["tasks"]]
    [place] = [task["checkpoint"] for task in tasks if "checkpoint" in task]
    assert place["thread_id"] == thread_id
    assert place["checkpoint_ns"].startswith("child:")
    assert all("state" not in task for task in tasks if "checkpoint" in task)
    inner = [p for name, p in payloads if name != "debug"]
    short = [p[which] for p in inner for which in ("checkpoint", "parent_checkpoint")]
    assert len(short) > 2
    for checkpoint in filter(None, short):
        assert set(checkpoint["checkpoint_map"]) == {"", place["checkpoint_ns"]}


async def test_events_name_the_message_of_a_tool(client: Any, thread_id: str) -> None:
    events = await streamed(
        client,
        thread_id,
        "agent",
        input={"messages": [{"role": "user", "content": "Oslo?"}]},
        stream_mode="events",
    )
    state = await client.threads.get_state(thread_id)

    [kept] = [m["id"] for m in state["values"]["messages"] if m["type"] == "tool"]
    [end] = [data for _, data in events if data["event"] == "on_tool_end"]
    assert end["data"]["output"]["id"] == kept


# --- Runs that are listed, stopped and deleted ----------------------------------------
async def test_runs_are_listed_stopped_together_and_deleted(
    client: Any, thread_id: str
) -> None:
    made = [
        (await client.runs.create(thread_id, "slow", input={"delay": 5}))["run_id"]
        for _ in range(3)
    ]
    pending = await client.runs.list(thread_id, status="pending", select=["run_id"])
    await client.runs.cancel_many(thread_id=thread_id, run_ids=made[1:])
    await client.runs.cancel(thread_id, made[0], wait=True)
    runs = await client.runs.list(thread_id, select=["run_id", "status"])
    await client.runs.delete(thread_id, made[0])

    assert {"run_id": made[2]} in pending
    assert runs == [
        {"run_id": run_id, "status": "interrupted"} for run_id in reversed(made)
    ]
    with pytest.raises(NotFoundError):
        await client.runs.get(thread_id, made[0])
    with pytest.raises(NotFoundError):
        await client.runs.cancel_many(thread_id=thread_id, run_ids=made)
