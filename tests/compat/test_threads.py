"""Every method of the official Python clients for threads.

`join_stream` is in test_thread_stream.py; `stream` is another protocol.
"""

from __future__ import annotations

import asyncio
import uuid
from pathlib import Path
from typing import Any, get_args

import httpx
import pytest
from langgraph_sdk._async.threads import ThreadsClient
from langgraph_sdk.errors import (
    BadRequestError,
    ConflictError,
    NotFoundError,
    UnprocessableEntityError,
)
from langgraph_sdk.schema import ThreadSelectField, ThreadSortBy

from spool.tests.live import WAIT_SECS

pytestmark = pytest.mark.e2e


@pytest.fixture
def mark() -> dict[str, str]:
    """Metadata that only this test's threads have."""
    return {"mark": uuid.uuid4().hex}


@pytest.fixture
async def waiting(client: Any, mark: Any) -> str:
    """A thread whose run was interrupted."""
    thread = await client.threads.create(metadata=mark)
    await client.runs.wait(thread["thread_id"], "human", input={"topic": "t"})
    return str(thread["thread_id"])


def test_no_call_is_left_out() -> None:
    called = Path(__file__).read_text()

    public = [name for name in vars(ThreadsClient) if not name.startswith("_")]

    left_out = [name for name in public if f"threads.{name}(" not in called]
    assert left_out == ["stream", "join_stream"]


async def test_a_thread_is_created_and_read(client: Any, mark: Any) -> None:
    thread_id = str(uuid.uuid4())

    created = await client.threads.create(
        metadata=mark, thread_id=thread_id, if_exists="raise", graph_id="echo"
    )

    assert created == await client.threads.get(thread_id)
    assert created["thread_id"] == thread_id
    assert created["metadata"] == {**mark, "graph_id": "echo"}
    assert (created["status"], created["values"]) == ("idle", None)


async def test_a_thread_is_created_once(client: Any) -> None:
    created = await client.threads.create(metadata={"n": 1})
    thread_id = created["thread_id"]

    kept = await client.threads.create(
        thread_id=thread_id, metadata={"n": 2}, if_exists="do_nothing"
    )

    assert kept == created
    with pytest.raises(ConflictError, match="already exists"):
        await client.threads.create(thread_id=thread_id)
    with pytest.raises(UnprocessableEntityError):
        await client.threads.create(thread_id="nonsense")


@pytest.mark.parametrize(
    ("ttl", "minutes", "strategy"),
    [(5, 5, "delete"), ({"ttl": 7, "strategy": "keep_latest"}, 7, "keep_latest")],
)
async def test_a_thread_has_a_time_to_live(
    client: Any, ttl: Any, minutes: int, strategy: str
) -> None:
    created = await client.threads.create(ttl=ttl)
    changed = await client.threads.create()
    await client.threads.update(changed["thread_id"], metadata={}, ttl=ttl)

    for thread in (created, changed):
        shown = await client.threads.get(thread["thread_id"], include=["ttl"])
        assert shown["ttl"]["ttl_minutes"] == minutes
        assert shown["ttl"]["strategy"] == strategy


async def test_a_thread_moves_between_deployments(client: Any, waiting: str) -> None:
    supersteps: Any = [
        {"updates": [{"values": {"topic": "t"}, "as_node": "__start__"}]},
        {
            "updates": [
                {
                    "values": None,
                    "command": {"update": {"answer": "a"}},
                    "as_node": "ask",
                }
            ]
        },
    ]

    thread = await client.threads.create(graph_id="human", supersteps=supersteps)

    state = await client.threads.get_state(thread["thread_id"])
    assert state["values"] == {"topic": "t", "answer": "a", "log": []}
    assert state["next"] == ["fin"]
    assert thread["status"] == "interrupted"


async def test_a_thread_is_updated(client: Any) -> None:
    created = await client.threads.create(metadata={"a": 1, "b": {"c": 2}})
    thread_id = created["thread_id"]

    changed = await client.threads.update(thread_id, metadata={"b": 3, "d": None})
    nothing = await client.threads.update(
        thread_id, metadata={"e": 4}, return_minimal=True
    )

    assert changed["metadata"] == {"a": 1, "b": 3, "d": None}
    assert changed["updated_at"] > created["updated_at"]
    assert nothing is None
    assert (await client.threads.get(thread_id))["metadata"]["e"] == 4


async def test_a_thread_is_deleted(client: Any, waiting: str) -> None:
    await client.threads.delete(waiting)

    for call in (
        client.threads.get,
        client.threads.delete,
        client.threads.get_state,
        client.threads.get_history,
    ):
        with pytest.raises(NotFoundError):
            await call(waiting)


async def test_a_thread_is_deleted_while_it_runs(
    client: Any, http: httpx.AsyncClient
) -> None:
    thread_id = (await client.threads.create())["thread_id"]
    run = await client.runs.create(thread_id, "slow", input={"delay": 30})
    async with asyncio.timeout(WAIT_SECS):
        while (await client.runs.get(thread_id, run["run_id"]))["status"] == "pending":
            await asyncio.sleep(0.05)

    path = f"/threads/{thread_id}/runs/{run['run_id']}/join"
    async with http.stream("GET", path) as joined:
        await client.threads.delete(thread_id)
        await joined.aread()

    assert joined.status_code == 200
    await client.threads.create(thread_id=thread_id, graph_id="slow")
    state = await client.threads.get_state(thread_id)
    assert state["values"] == {}
    # The old run has left the worker, and doesn't affect a new one.
    values = await client.runs.wait(thread_id, "slow", input={"delay": 0})
    assert values["log"] == ["step1", "step2", "step3", "step4", "step5"]
    assert len(await client.runs.list(thread_id)) == 1


async def test_threads_are_searched_and_counted(
    client: Any, mark: Any, waiting: str
) -> None:
    first = (await client.threads.create(metadata=mark))["thread_id"]
    second = (await client.threads.create(metadata=mark))["thread_id"]

    async def search(**asked: Any) -> list[str]:
        found = await client.threads.search(metadata=mark, **asked)
        return [thread["thread_id"] for thread in found]

    assert await search() == [second, first, waiting]
    assert await search(limit=1, offset=1) == [first]
    assert await search(status="interrupted") == [waiting]
    assert await search(values={"topic": "t"}) == [waiting]
    assert await search(ids=[first, waiting]) == [first, waiting]
    assert await search(sort_by="created_at", sort_order="asc") == [
        waiting,
        first,
        second,
    ]
    assert await client.threads.count(metadata=mark) == 3
    assert await client.threads.count(metadata=mark, status="idle") == 2
    assert await client.threads.count(values={"topic": "t"}, metadata=mark) == 1
    with pytest.raises(BadRequestError, match="Invalid thread ID"):
        await search(ids=["nonsense"])


async def test_everything_the_client_sorts_by_and_selects(
    client: Any, mark: Any, waiting: str
) -> None:
    # The type has `context`, but the official server doesn't know it either.
    fields = set(get_args(ThreadSelectField)) - {"context"}

    for sort_by in get_args(ThreadSortBy):
        [row] = await client.threads.search(
            metadata=mark, sort_by=sort_by, select=sorted(fields)
        )
        assert set(row) == fields


async def test_values_are_extracted(client: Any, mark: Any, waiting: str) -> None:
    [row] = await client.threads.search(
        metadata=mark,
        select=["thread_id"],
        extract={"topic": "values.topic", "mark": "metadata.mark", "no": "values.x[0]"},
    )

    assert row == {
        "thread_id": waiting,
        "extracted": {"topic": "t", **mark, "no": None},
    }


async def test_a_thread_is_copied(client: Any, waiting: str) -> None:
    copied = await client.threads.copy(waiting)
    copy_id = copied["thread_id"]
    await client.runs.wait(copy_id, "human", command={"resume": "yes"})

    assert copy_id != waiting
    done = await client.threads.get_state(copy_id)
    assert done["values"]["answer"] == "yes"
    assert (await client.threads.get_state(waiting))["next"] == ["ask"]
    assert (await client.threads.get(waiting))["status"] == "interrupted"
    with pytest.raises(ConflictError):
        await client.threads.copy(str(uuid.uuid4()))


async def test_threads_are_pruned(client: Any, waiting: str) -> None:
    other = (await client.threads.create())["thread_id"]

    kept = await client.threads.prune([waiting], strategy="keep_latest")
    history = await client.threads.get_history(waiting)
    done = await client.runs.wait(waiting, "human", command={"resume": "yes"})
    gone = await client.threads.prune([waiting, other, str(uuid.uuid4())])

    assert kept == {"pruned_count": 1}
    assert len(history) == 1
    assert done["answer"] == "yes"
    assert gone == {"pruned_count": 2}
    assert await client.threads.search(ids=[waiting, other]) == []


async def test_state_is_read_in_every_way(client: Any, waiting: str) -> None:
    newest = await client.threads.get_state(waiting)
    history = await client.threads.get_history(waiting)
    first = history[-1]

    by_id = await client.threads.get_state(
        waiting, checkpoint_id=first["checkpoint"]["checkpoint_id"]
    )
    by_checkpoint = await client.threads.get_state(
        waiting, checkpoint=first["checkpoint"], subgraphs=True
    )
    selected = await client.threads.get_state(waiting, select=["values.topic", "next"])

    assert newest == history[0]
    assert newest["interrupts"][0]["value"]["question"] == "approve?"
    assert by_id == by_checkpoint == first
    assert selected == {"values": {"topic": "t"}, "next": ["ask"]}


async def test_a_subgraphs_state_is_read(client: Any) -> None:
    thread_id = (await client.threads.create())["thread_id"]
    await client.runs.wait(thread_id, "nested", input={"topic": "stop"})

    flat = await client.threads.get_state(thread_id)
    deep = await client.threads.get_state(thread_id, subgraphs=True)
    checkpoint = flat["tasks"][0]["checkpoint"]
    inner = await client.threads.get_state(thread_id, checkpoint=checkpoint)
    history = await client.threads.get_history(thread_id, checkpoint=checkpoint)

    assert flat["tasks"][0]["state"] is None
    assert deep["tasks"][0]["state"]["next"] == inner["next"] == ["sub_b"]
    assert [state["next"] for state in history][:2] == [["sub_b"], ["sub_a"]]


async def test_state_is_updated_and_forked(client: Any, waiting: str) -> None:
    before = await client.threads.get_state(waiting)

    updated = await client.threads.update_state(
        waiting, {"answer": "mine"}, as_node="ask"
    )
    after = await client.threads.get_state(waiting)
    await client.threads.update_state(
        waiting,
        {"topic": "fork"},
        as_node="__start__",
        checkpoint=before["checkpoint"],
    )
    forked = await client.threads.get_state(waiting)
    await client.threads.update_state(
        waiting, {"topic": "again"}, checkpoint_id=before["checkpoint"]["checkpoint_id"]
    )

    assert updated["checkpoint"] == after["checkpoint"]
    assert after["values"]["answer"] == "mine"
    assert after["next"] == ["fin"]
    assert forked["values"]["topic"] == "fork"
    assert "answer" not in forked["values"]
    assert forked["parent_checkpoint"] == before["checkpoint"]
    with pytest.raises(BadRequestError, match="Node zzz does not exist"):
        await client.threads.update_state(waiting, {}, as_node="zzz")


async def test_state_is_not_updated_in_flight(client: Any) -> None:
    thread_id = (await client.threads.create())["thread_id"]
    await client.runs.create(thread_id, "slow", input={"delay": 30})

    with pytest.raises(ConflictError):
        await client.threads.update_state(thread_id, {"log": ["x"]}, as_node="s1")

    await client.threads.delete(thread_id)


async def test_history_is_read_in_every_way(client: Any) -> None:
    thread_id = (await client.threads.create())["thread_id"]
    await client.runs.wait(thread_id, "slow", input={"delay": 0})
    history = await client.threads.get_history(thread_id)
    checkpoint = history[2]["checkpoint"]

    pages = [
        await client.threads.get_history(thread_id, limit=2, before=before)
        for before in (checkpoint, checkpoint["checkpoint_id"])
    ]
    by_step = await client.threads.get_history(thread_id, metadata={"step": 2})
    selected = await client.threads.get_history(thread_id, limit=1, select=["next"])

    assert len(history) == 7
    assert pages == [history[3:5]] * 2
    assert [state["metadata"]["step"] for state in by_step] == [2]
    assert selected == [{"next": []}]
