"""Threads whose next node is missing in code that was deployed meanwhile."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from spool.tests.company import ENVIRONMENT, Company, Run, asked
from spool.tests.live import Server, serving

pytestmark = pytest.mark.e2e

CODE = """
import operator
from typing import Annotated, TypedDict

from langgraph.graph import START, StateGraph
from langgraph.types import Send, interrupt

class State(TypedDict):
    log: Annotated[list[str], operator.add]

def step(name, asks):
    def run(state):
        return {"log": [interrupt("go on?") if asks else name]}
    return run

def chain(*names, asks=False):
    builder = StateGraph(State)
    before = START
    for name in names:
        builder.add_node(name, step(name, asks and name != "a"))
        builder.add_edge(before, name)
        before = name
    return builder

NEXT = "NODE"
before = chain("a", NEXT).compile()
inside = chain("a", NEXT, asks=True).compile()
nested = StateGraph(State).add_node("inner", inside).add_edge(START, "inner").compile()

sender = chain("a")
sender.add_node(NEXT, step(NEXT, True))
sender.add_conditional_edges("a", lambda state: [Send(NEXT, state)], [NEXT])
sends = sender.compile()
"""
GRAPHS = ("before", "inside", "nested", "sends")


def deploy(folder: Path, node: str) -> None:
    (folder / "agent.py").write_text(CODE.replace("NODE", node))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("project")
    graphs = {name: f"./agent.py:{name}" for name in GRAPHS}
    config = {"dependencies": ["."], "graphs": graphs}
    (folder / "langgraph.json").write_text(json.dumps(config))
    deploy(folder, "b")  # Web processes import it, too.
    return folder


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[Server]:
    with serving(folder / "langgraph.json", workers=0, **ENVIRONMENT) as server:
        yield server


@pytest.fixture
def company(server: Server) -> Iterator[Company]:
    company = Company(server)
    yield company
    company.dismiss()


def start_all(company: Company) -> dict[str, Run]:
    """Create threads that wait for the node. Return them by their graph."""
    runs = {
        graph: company.run(graph, input={"log": []}, interrupt_before=["b"])
        if graph == "before"
        else company.run(graph, input={"log": []})
        for graph in GRAPHS
    }
    assert {run.ended() for run in runs.values()} == {"success"}
    return runs


def resume_all(company: Company, runs: dict[str, Run]) -> dict[str, Run]:
    resumed = {
        graph: company.run_on(run.thread_id, graph)
        if graph == "before"
        else company.run_on(run.thread_id, graph, command={"resume": "b"})
        for graph, run in runs.items()
    }
    for run in resumed.values():
        run.ended()
    return resumed


def attempt(company: Company, run: Run) -> Any:
    [found] = asked(company.http, f"{run.path}/timeline")["attempts"]
    return found


def test_a_thread_whose_next_node_is_gone_waits_for_a_roll_back(
    company: Company, folder: Path
) -> None:
    deploy(folder, "b")
    company.hire()
    runs = start_all(company)
    earlier = {graph: attempt(company, run)["revision"] for graph, run in runs.items()}

    deploy(folder, "c")
    company.replace()
    refused = resume_all(company, runs)

    for graph, run in refused.items():
        found = attempt(company, run)
        assert (found["outcome"], found["error"]["error"]) == ("error", "NodeNotFound")
        message = found["error"]["message"]
        assert message.startswith("Node 'b' is next on this thread")
        assert f"revision {found['revision']!r} of graph {graph!r}" in message
        assert f"saved by revision {earlier[graph]!r}" in message
        assert found["revision"] != earlier[graph]
        thread = asked(company.http, run.thread_path)
        assert (thread["status"], thread["error"]) == ("interrupted", None)

    deploy(folder, "b")
    company.replace()
    resumed = resume_all(company, runs)

    assert {run.status() for run in resumed.values()} == {"success"}
    assert [run.log() for run in resumed.values()] == [["a", "b"]] * len(GRAPHS)


def test_new_input_needs_no_node_that_is_gone(company: Company, folder: Path) -> None:
    deploy(folder, "b")
    company.hire()
    run = company.run("before", input={"log": []}, interrupt_before=["b"])
    run.ended()

    deploy(folder, "c")
    company.replace()
    again = company.run_on(run.thread_id, "before", input={"log": ["new"]})

    assert again.ended() == "success"
    assert again.log() == ["a", "new", "a", "c"]
