"""Concurrent operations, and what they cost."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any, TypedDict

import pytest
from langgraph.graph import END, START, StateGraph
from langgraph.store.base import BaseStore, PutOp
from langgraph.types import Send

from spool.database.json import TooDeep
from spool.database.loop import Loop
from spool.database.tests.together import at_once
from spool.store.backend import PostgresStore
from spool.store.operations import Row, Statement
from spool.store.tests.conftest import MakeStore

# The stores have their own connections; this makes pytest-django set up the database.
pytestmark = pytest.mark.django_db


class Counting(PostgresStore):
    """A store that records its statements."""

    statements: list[str]

    async def _rows(self, statements: tuple[Statement, ...]) -> list[Row]:
        self.statements += [statement.sql for statement in statements]
        return await super()._rows(statements)


@pytest.fixture
def counting(make_store: MakeStore, loop: Loop) -> Counting:
    async def made() -> Counting:
        store = Counting(loop.pool, "alice")
        store.statements = []
        return store

    return loop.run(made())


# --- Cost ---------------------------------------------------------------------------
def test_a_batch_costs_a_statement_for_each_kind(counting: Counting) -> None:
    puts = [PutOp(("a",), str(n), {"n": n}) for n in range(100)]
    counting.batch(puts)

    assert len(counting.statements) == 1


class State(TypedDict):
    found: int


def super_step(*nodes: Any) -> StateGraph[State]:
    graph = StateGraph(State)
    for number, node in enumerate(nodes):
        graph.add_node(str(number), node)
        graph.add_edge(START, str(number))
        graph.add_edge(str(number), END)
    return graph


def test_a_super_step_costs_a_handful_of_statements(
    counting: Counting, loop: Loop
) -> None:
    async def write(state: State, *, store: BaseStore) -> None:
        await asyncio.gather(*[store.aput(("a",), str(n), {"n": n}) for n in range(50)])

    async def write_others(state: State, *, store: BaseStore) -> None:
        await asyncio.gather(*[store.aput(("b",), str(n), {"n": n}) for n in range(50)])

    async def read(state: State, *, store: BaseStore) -> dict[str, int]:
        items = await asyncio.gather(
            *[store.aget((label,), str(n)) for label in "ab" for n in range(50)]
        )
        return {"found": sum(item is not None for item in items)}

    writing = super_step(write, write_others).compile(store=counting)
    reading = super_step(read).compile(store=counting)

    loop.run(writing.ainvoke({"found": 0}))
    state = loop.run(reading.ainvoke({"found": 0}))

    assert state["found"] == 100
    assert len(counting.statements) <= 4


def test_a_node_for_each_item_costs_no_more(counting: Counting, loop: Loop) -> None:
    async def keep(state: State, *, store: BaseStore) -> None:
        place = ("a",), str(state["found"])
        await store.aput(*place, {"n": state["found"]})
        item = await store.aget(*place)
        assert item is not None

    graph = StateGraph(State)
    graph.add_node(keep)
    graph.add_conditional_edges(
        START, lambda _: [Send("keep", {"found": n}) for n in range(100)]
    )

    loop.run(graph.compile(store=counting).ainvoke({"found": 0}))

    assert len(counting.statements) <= 4


def test_nodes_on_threads_use_the_same_store(counting: Counting, loop: Loop) -> None:
    def write(state: State, *, store: BaseStore) -> dict[str, int]:
        store.put(("a",), "k", {"n": 1})
        return {"found": len(store.search(("a",)))}

    state = loop.run(super_step(write).compile(store=counting).ainvoke({"found": 0}))

    assert state["found"] == 1


def test_nodes_may_run_a_loop_of_their_own(counting: Counting, loop: Loop) -> None:
    async def write_and_read(store: BaseStore) -> int:
        await asyncio.gather(*[store.aput(("a",), str(n), {"n": n}) for n in range(20)])
        return len(await store.asearch(("a",), limit=100))

    def on_a_thread(state: State, *, store: BaseStore) -> dict[str, int]:
        return {"found": asyncio.run(write_and_read(store))}

    graph = super_step(on_a_thread).compile(store=counting)

    assert loop.run(graph.ainvoke({"found": 0}))["found"] == 20


# --- In one turn of the loop ----------------------------------------------------------
def test_what_is_refused_does_not_spoil_the_others(
    make_store: MakeStore, loop: Loop
) -> None:
    store = make_store("alice")

    async def both() -> Any:
        return await asyncio.gather(
            store.aput(("a",), "k", {}),
            store.asearch(("a",), filter={"n": {"$in": []}}),
            return_exceptions=True,
        )

    put, search = loop.run(both())

    assert put is None
    assert isinstance(search, ValueError)
    assert [item.key for item in store.search(("a",))] == ["k"]


def test_what_fails_does_not_spoil_the_others(
    make_store: MakeStore, loop: Loop
) -> None:
    store = make_store("alice")
    endless: dict[str, Any] = {}
    endless["self"] = endless

    async def all_at_once() -> Any:
        return await asyncio.gather(
            store.aput(("a",), "k", {}),
            store.aput(("a",), "endless", endless),
            store.aget(("a",), "k"),
            store.aput(("a",), "l", {}),
            return_exceptions=True,
        )

    put, failed, _, other = loop.run(all_at_once())

    assert put is other is None
    assert isinstance(failed, TooDeep)
    assert {item.key for item in store.search(("a",))} == {"k", "l"}


def test_who_is_cancelled_does_not_take_the_others_along(
    make_store: MakeStore, loop: Loop
) -> None:
    store = make_store("alice")
    store.put(("a",), "k", {})

    async def one_cancelled() -> list[Any]:
        tasks = [asyncio.create_task(store.aget(("a",), "k")) for _ in range(3)]
        await asyncio.sleep(0)
        tasks[1].cancel()
        return await asyncio.gather(*tasks, return_exceptions=True)

    first, second, third = loop.run(one_cancelled())

    assert isinstance(second, asyncio.CancelledError)
    assert first == third
    assert first.key == "k"


def test_a_synchronous_call_would_block_the_loop(
    make_store: MakeStore, loop: Loop
) -> None:
    store = make_store("alice")

    async def call() -> None:
        store.get(("a",), "k")

    with pytest.raises(asyncio.InvalidStateError, match="aget"):
        loop.run(call())


def test_it_outlasts_connections_that_were_cut(
    make_store: MakeStore, loop: Loop
) -> None:
    store = make_store("alice")
    store.put(("a",), "k", {})

    async def cut() -> None:
        async with loop.pool.connection() as conn:
            mine = await (
                await conn.execute("SELECT pg_backend_pid() AS id")
            ).fetchone()
            assert mine
            await conn.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> %(id)s "
                "AND application_name = current_setting('application_name')",
                mine,
            )

    loop.run(cut())

    get = partial(store.get, ("a",), "k")
    assert at_once([get] * 8) == [get()] * 8


# --- Races --------------------------------------------------------------------------
def test_fifty_writers_of_one_key_leave_one_of_their_values(
    make_store: MakeStore,
) -> None:
    # One store for each writer: a store combines simultaneous requests into one batch.
    stores = [make_store("alice") for _ in range(50)]

    results = at_once(
        [partial(store.put, ("a",), "k", {"n": n}) for n, store in enumerate(stores)]
    )

    assert results == [None] * 50
    [item] = stores[0].search(("a",))
    assert item.value["n"] in range(50)


def test_a_put_beside_a_delete_leaves_all_or_nothing(make_store: MakeStore) -> None:
    stores = [make_store("alice") for _ in range(40)]

    def write(number: int) -> None:
        if number % 2:
            stores[number].delete(("a",), "k")
        else:
            stores[number].put(("a",), "k", {"n": number})

    assert at_once([partial(write, n) for n in range(40)]) == [None] * 40
    assert all(item.value["n"] % 2 == 0 for item in stores[0].search(("a",)))


def test_batches_over_the_same_keys_never_wait_for_each_other(
    make_store: MakeStore,
) -> None:
    stores = [make_store("alice") for _ in range(8)]
    keys = [str(n) for n in range(200)]
    stores[0].batch([PutOp(("a",), key, {}, ttl=5) for key in keys])

    def write(number: int) -> None:
        for turn in range(5):
            order = keys if (number + turn) % 2 else keys[::-1]
            value = None if (number + turn) % 3 == 0 else {"n": number}
            stores[number].batch([PutOp(("a",), key, value, ttl=5) for key in order])
            stores[number].search(("a",), limit=200)

    assert at_once([partial(write, n) for n in range(8)]) == [None] * 8
