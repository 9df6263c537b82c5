"""Interrupts of parallel branches, and the metadata of graphs."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from spool.assistants.services import register_system_assistants
from spool.assistants.tests.served import serving
from spool.database.loop import Loop
from spool.runs.models import Run, Worker
from spool.runs.streaming import events, run_stream
from spool.runs.tests.executing import forget_config
from spool.runs.worker.executor import Executor
from spool.threads.models import Thread
from spool.threads.state import get_history

pytestmark = pytest.mark.django_db(transaction=True)

GRAPHS = """
import asyncio
import operator
from typing import Annotated, TypedDict

from langgraph.graph import START, StateGraph
from langgraph.types import interrupt


class Log(TypedDict, total=False):
    log: Annotated[list[str], operator.add]


def asks(question):
    return lambda state: {"log": [interrupt(question)]}


async def goes_on(state):
    await asyncio.sleep(0.05)  # It is told of last.
    return {"log": ["went on"]}


beside = StateGraph(Log)
for name, node in (("a", asks("qa")), ("b", asks("qb")), ("c", goes_on)):
    beside.add_node(name, node)
    beside.add_edge(START, name)

marked = StateGraph(Log).add_node("one", lambda state: {"log": ["one"]})
marked.add_edge(START, "one")
marked = marked.compile().with_config({"metadata": {"team": "blue", "kind": "graph's"}})
"""


@pytest.fixture(scope="module", autouse=True)
def _graphs(graphs: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    folder = tmp_path_factory.mktemp("own_words")
    (folder / "own_words.py").write_text(GRAPHS)
    named = {name: f"./own_words.py:{name}" for name in ("beside", "marked")}
    config = folder / "langgraph.json"
    config.write_text(json.dumps({"graphs": named}))
    with serving(config, forget_config):
        yield


@pytest.fixture(autouse=True)
def _assistants(db: None) -> None:
    register_system_assistants()


@pytest.fixture
def executed(
    loop: Loop, worker: Worker, make_run: Callable[..., Run]
) -> Callable[..., Run]:
    """Create a run and execute it here to its end."""

    async def execute(run: Run) -> None:
        redis = events.new_async_redis()
        await Executor(loop.pool, redis, lambda: worker.id).execute(run.id)
        await redis.aclose()

    def make(graph: str, **body: Any) -> Run:
        run = make_run(assistant_id=graph, input={"log": []}, **body)
        loop.run(execute(run))
        run.refresh_from_db()
        return run

    return make


def test_a_stateless_run_tells_all_that_its_branches_ask(
    executed: Callable[..., Run],
) -> None:
    run = executed("beside", thread_id=None)

    told = run_stream.result(run.id)

    assert told["log"] == ["went on"]
    assert {one["value"] for one in told["__interrupt__"]} == {"qa", "qb"}
    assert len(told["__interrupt__"]) == 2


def test_a_graphs_own_metadata_is_in_its_checkpoints(
    executed: Callable[..., Run], thread: Thread
) -> None:
    executed("marked", metadata={"kind": "client's"})

    thread.refresh_from_db()
    history = get_history(thread, limit=10)

    told: list[Any] = [state.metadata for state in history]
    assert {(one["team"], one["kind"]) for one in told} == {("blue", "client's")}
    found = get_history(thread, limit=10, metadata={"team": "blue"})
    assert len(found) == len(history)
