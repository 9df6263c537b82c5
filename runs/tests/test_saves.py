"""A graph's saves are kept until the next save or the end of the run stores them."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, cast

import pytest
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import Checkpoint, empty_checkpoint
from langgraph.checkpoint.base.id import uuid6
from psycopg import DatabaseError

from spool.database.loop import Loop
from spool.runs import lifecycle
from spool.runs.lifecycle import Claim, Outcome
from spool.runs.models import Run, Worker
from spool.runs.tests.executing import checkpoint_rows, overtake, wait_for
from spool.runs.worker.fence import fence_of
from spool.threads import checkpoints
from spool.threads.checkpoints import LostRun, RunSaver
from spool.threads.models import Thread

pytestmark = pytest.mark.django_db(transaction=True)

SUCCESS = Outcome(Run.Status.SUCCESS)


@pytest.fixture
def held(loop: Loop, worker: Worker, make_run: Callable[..., Run]) -> Claim:
    held = loop.run(lifecycle.claim(loop.pool, make_run().id, worker.id))
    assert held is not None
    return held


@pytest.fixture
def saver(loop: Loop, held: Claim, monkeypatch: pytest.MonkeyPatch) -> RunSaver:
    # No save is stored because of elapsed time.
    monkeypatch.setattr(checkpoints, "LINGER_SECS", 3600)

    async def new() -> RunSaver:
        return RunSaver(loop.pool, fence_of(held), {"run_id": str(held.id)})

    return loop.run(new())


class Graph:
    """Saves as a graph does."""

    def __init__(self, loop: Loop, saver: RunSaver, thread: Thread) -> None:
        self.loop, self.saver = loop, saver
        self.config: RunnableConfig = {
            "configurable": {"thread_id": str(thread.id), "checkpoint_ns": ""}
        }

    def run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        return self.loop.run(coroutine)

    def put(self, **values: Any) -> Checkpoint:
        versions: Any = dict.fromkeys(values, "1")
        checkpoint = {
            **empty_checkpoint(),
            "id": str(uuid6()),
            "channel_values": values,
            "channel_versions": versions,
        }
        saved = cast("Checkpoint", checkpoint)
        metadata: Any = {"source": "loop", "step": 1, "parents": {}}
        self.config = self.run(self.saver.aput(self.config, saved, metadata, versions))
        return saved

    def write(self, task: str, *writes: tuple[str, Any]) -> None:
        self.run(self.saver.aput_writes(self.config, writes, task))

    def read(self) -> Any:
        return self.run(self.saver.aget_tuple(self.config))


@pytest.fixture
def graph(loop: Loop, saver: RunSaver, thread: Thread) -> Iterator[Graph]:
    graph = Graph(loop, saver, thread)
    yield graph
    loop.run(saver.discard())


def test_saves_are_stored_with_the_end(
    graph: Graph, loop: Loop, held: Claim, thread: Thread
) -> None:
    graph.put(log=["a"], count=1)
    graph.write("task", ("log", ["b"]), ("count", 2))
    assert checkpoint_rows(thread.id) == 0

    saves = loop.run(graph.saver.take())
    ended = loop.run(lifecycle.end(loop.pool, held, SUCCESS, saves=saves))

    assert ended is not None
    found = graph.read()
    assert found.checkpoint["channel_values"] == {"log": ["a"], "count": 1}
    assert found.pending_writes == [("task", "log", ["b"]), ("task", "count", 2)]
    assert found.metadata["run_id"] == str(held.id)


def test_a_read_finds_what_was_saved(graph: Graph) -> None:
    graph.put(log=["a"])
    graph.write("task", ("log", ["b"]))

    found = graph.read()

    assert found.checkpoint["channel_values"] == {"log": ["a"]}
    assert found.pending_writes == [("task", "log", ["b"])]


@pytest.mark.parametrize("channel", ["__interrupt__", "__error__", "__resume__"])
def test_what_is_special_is_stored_at_once(
    graph: Graph, thread: Thread, channel: str
) -> None:
    graph.put(count=1)
    graph.write("task", (channel, "why"))

    assert checkpoint_rows(thread.id) == 2


@pytest.mark.parametrize("is_stored_before", [True, False])
def test_the_first_result_of_a_task_counts_and_the_last_special_write(
    graph: Graph, is_stored_before: bool
) -> None:
    graph.put(count=1)
    graph.write("task", ("log", "first"), ("__resume__", "old"))
    if is_stored_before:
        graph.run(graph.saver.flush())

    graph.write("task", ("log", "second"))
    graph.write("task", ("__resume__", "new"))

    assert sorted(graph.read().pending_writes) == [
        ("task", "__resume__", "new"),
        ("task", "log", "first"),
    ]


def test_a_checkpoint_that_is_saved_again_is_stored_as_it_was_last(
    graph: Graph, saver: RunSaver
) -> None:
    checkpoint = graph.put(count=1)
    again: Any = {**checkpoint, "channel_values": {"count": 2}}

    graph.run(saver.aput(graph.config, again, {"step": 2}, {}))

    assert graph.read().checkpoint["channel_values"] == {"count": 2}


def test_with_sync_each_save_is_stored_before_the_graph_goes_on(
    loop: Loop, held: Claim, thread: Thread
) -> None:
    async def new() -> RunSaver:
        return RunSaver(loop.pool, fence_of(held), {}, durability="sync")

    graph = Graph(loop, loop.run(new()), thread)
    graph.put(log=["a"])
    assert checkpoint_rows(thread.id) == 2
    graph.write("task", ("log", ["b"]))
    assert checkpoint_rows(thread.id) == 3


def test_saves_are_stored_after_a_while(
    graph: Graph, thread: Thread, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoints, "LINGER_SECS", 0.01)

    graph.put(log=["a"])

    wait_for(lambda: checkpoint_rows(thread.id) == 2)


def test_a_graph_that_saves_much_waits_until_it_is_stored(
    graph: Graph, thread: Thread
) -> None:
    graph.put(log=["a" * checkpoints.MAX_BUFFERED_BYTES])

    assert checkpoint_rows(thread.id) == 2


def test_nothing_is_stored_of_an_attempt_that_was_overtaken(
    graph: Graph, loop: Loop, held: Claim, thread: Thread
) -> None:
    graph.put(log=["a"])
    overtake(Run.objects.get())

    with pytest.raises(LostRun):
        graph.run(graph.saver.flush())
    with pytest.raises(LostRun):
        graph.put(log=["b"])
    with pytest.raises(LostRun):
        graph.run(graph.saver.take())
    assert checkpoint_rows(thread.id) == 0


def test_the_end_of_an_attempt_that_was_overtaken_stores_no_saves(
    graph: Graph, loop: Loop, held: Claim, thread: Thread
) -> None:
    graph.put(log=["a"])
    saves = loop.run(graph.saver.take())
    overtake(Run.objects.get())

    assert loop.run(lifecycle.end(loop.pool, held, SUCCESS, saves=saves)) is None
    assert checkpoint_rows(thread.id) == 0


def test_the_end_of_a_run_that_is_to_be_rolled_back_stores_no_saves(
    graph: Graph, loop: Loop, held: Claim, thread: Thread
) -> None:
    graph.put(log=["a"])
    saves = loop.run(graph.saver.take())
    Run.objects.update(cancel_action="rollback")

    assert loop.run(lifecycle.end(loop.pool, held, SUCCESS, saves=saves)) is None
    assert checkpoint_rows(thread.id) == 0


def test_a_save_that_postgres_refuses_fails_the_next(
    graph: Graph, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph.put(log=["a"])
    too_long = secrets.token_hex(6_000)  # A row of an index has less room.
    graph.config["configurable"]["checkpoint_ns"] = too_long
    graph.put(log=["b"])

    found = graph.read()

    assert found is None
    with pytest.raises(DatabaseError):
        graph.put(log=["c"])
    with pytest.raises(DatabaseError):
        graph.run(graph.saver.take())


def test_a_discarded_save_is_not_stored(graph: Graph, thread: Thread) -> None:
    graph.put(log=["a"])

    graph.run(graph.saver.discard())

    with pytest.raises(LostRun):
        graph.put(log=["b"])
    graph.run(graph.saver.flush())
    assert checkpoint_rows(thread.id) == 0


def test_a_new_threads_checkpoint_is_looked_for_once_there_is_one(
    loop: Loop, held: Claim, thread: Thread
) -> None:
    async def new() -> RunSaver:
        fence = fence_of(held)
        return RunSaver(loop.pool, fence, {}, new_thread_id=thread.id)

    graph = Graph(loop, loop.run(new()), thread)
    assert graph.read() is None

    graph.put(count=1)

    assert graph.read().checkpoint["channel_values"] == {"count": 1}
