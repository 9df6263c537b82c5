"""The input and output schemas of a graph, for protocols."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from spool.access.policy import Scope
from spool.assistants import schemas
from spool.assistants.models import Assistant
from spool.assistants.schemas import edge_schemas
from spool.assistants.tests.served import forget_graphs, serving
from spool.web.errors import Unprocessable

MODULE = """
from pathlib import Path
from typing import TypedDict
from langgraph.func import entrypoint
from langgraph.graph import StateGraph

class Taken(TypedDict):
    question: str

class Given(TypedDict):
    answer: str

class Whole(Taken, Given):
    hidden: str

builder = StateGraph(Whole, input_schema=Taken, output_schema=Given)
builder.add_node("node", lambda state: {})
builder.set_entry_point("node")
graph = builder.compile()

@entrypoint()
async def number(given: int) -> int:
    return given

made = Path(__file__).with_name("made")

def note():
    made.write_text(made.read_text() + "x" if made.exists() else "x")

def by_config(config):
    note()
    return graph

def broken():
    note()
    raise RuntimeError("no model today")

async def hangs():
    import asyncio
    await asyncio.sleep(3600)
"""

GRAPHS = ("graph", "number", "by_config", "broken", "hangs")


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    (tmp_path / "agent.py").write_text(MODULE)
    graphs = {name: f"./agent.py:{name}" for name in GRAPHS}
    path = tmp_path / "langgraph.json"
    path.write_text(json.dumps({"graphs": graphs}))
    with serving(path, forget_graphs):
        yield tmp_path


@pytest.fixture
def made(folder: Path) -> Callable[[], int]:
    """The number of a factory's calls."""
    return lambda: len((folder / "made").read_text())


def assistant(graph_id: str, **more: Any) -> Assistant:
    return Assistant(graph_id=graph_id, **more)


def scope(identity: str) -> Scope:
    return Scope(identity, user={"identity": identity})


@pytest.mark.usefixtures("folder")
def test_they_are_those_of_the_graphs_edges() -> None:
    found = edge_schemas(assistant("graph"), Scope())

    assert set(found.input["properties"]) == {"question"}
    assert set(found.output["properties"]) == {"answer"}
    assert found.output_keys == ("answer",)


@pytest.mark.usefixtures("folder")
def test_an_output_that_is_no_object_has_no_keys() -> None:
    found = edge_schemas(assistant("number"), Scope())

    assert found.output["type"] == "integer"
    assert found.output_keys is None


@pytest.mark.usefixtures("folder")
def test_those_of_a_graph_are_made_once() -> None:
    one, other = (edge_schemas(assistant("graph"), scope(name)) for name in "ab")

    assert one is other


def test_a_factorys_are_made_once_for_each_assistant_and_caller(
    made: Callable[[], int],
) -> None:
    ours = assistant("by_config")
    for name in ("a", "a", "b"):
        edge_schemas(ours, scope(name))
    edge_schemas(assistant("by_config"), scope("a"))

    assert made() == 3


def test_a_graph_that_cannot_be_made_is_not_tried_at_once_again(
    made: Callable[[], int],
) -> None:
    for _ in range(2):
        with pytest.raises(Unprocessable, match="no model today"):
            edge_schemas(assistant("broken"), Scope())

    assert made() == 1


@pytest.mark.usefixtures("folder")
def test_one_that_hangs_holds_up_nothing_for_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(schemas, "EDGES_TIMEOUT_SECS", 0.05)

    with pytest.raises(Unprocessable, match="TimeoutError"):
        edge_schemas(assistant("hangs"), Scope())


@pytest.mark.usefixtures("folder")
def test_only_so_many_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schemas, "MAX_KNOWN_EDGES", 2)
    ours = assistant("by_config")

    first = edge_schemas(ours, scope("a"))
    for name in "bc":
        edge_schemas(ours, scope(name))

    assert edge_schemas(ours, scope("a")) is not first
