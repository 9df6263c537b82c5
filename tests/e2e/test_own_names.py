"""A user's project whose modules have the same names as ours, and as libraries."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from spool.tests.live import ROOT, WAIT_SECS, Server, wait_until

pytestmark = pytest.mark.e2e

# Names that `import` would find at the root of a checkout.
NAMES = sorted(
    path.stem
    for path in ROOT.iterdir()
    if path.suffix == ".py"
    or (path / "__init__.py").is_file()
    or path.stem == "examples"
)
NAMES.remove("spool")
# A library that we need, and a standard module that a library needs.
LIBRARIES = ("redis", "calendar")

PART = """
from dataclasses import dataclass

PLACE = "{name} of the user"


@dataclass
class Part:
    number: int
"""

AGENT = """
import json
from typing import Any, TypedDict

from langgraph.graph import START, StateGraph
from langgraph.types import interrupt

{imports}

PARTS = [{classes}]


class State(TypedDict, total=False):
    parts: list[Any]
    places: list[str]
    found: list[str]
    kept: bool


def make(state: State) -> State:
{inner_imports}
    return {{
        "parts": [part(number) for number, part in enumerate(PARTS)],
        "places": [{places}],
    }}


def ask(state: State) -> State:
    interrupt("go on?")
    return {{}}


def look(state: State) -> State:
{inner_imports}
    kept = [type(part) for part in state["parts"]]
    return {{
        "found": [part.__module__ for part in kept],
        "kept": kept == PARTS == [{inner_classes}],
    }}


graph = (
    StateGraph(State)
    .add_node("make", make)
    .add_node("ask", ask)
    .add_node("look", look)
    .add_edge(START, "make")
    .add_edge("make", "ask")
    .add_edge("ask", "look")
    .compile()
)
"""


def write_agent(folder: Path, submodule: str) -> None:
    def lines(text: str) -> str:
        return "\n".join(text.format(n=name, s=submodule) for name in NAMES)

    def items(text: str) -> str:
        return ", ".join(text.format(n=name) for name in NAMES)

    inner = "    import {n}{s} as {n}_inside\n    from {n}{s} import PLACE as {n}_place"
    text = AGENT.format(
        imports=lines("from {n}{s} import Part as {n}_part"),
        classes=items("{n}_part"),
        inner_imports=lines(inner),
        inner_classes=items("{n}_inside.Part"),
        places=items("{n}_place"),
    )
    (folder / "agent.py").write_text(text)
    graphs = {"graphs": {"agent": "./agent.py:graph"}, "dependencies": ["."]}
    (folder / "langgraph.json").write_text(json.dumps(graphs))
    for name in LIBRARIES:
        (folder / f"{name}.py").write_text("raise RuntimeError('not the library')\n")


def project_of_modules(folder: Path) -> str:
    for name in NAMES:
        (folder / f"{name}.py").write_text(PART.format(name=name))
    return ""


def project_of_packages(folder: Path) -> str:
    for name in NAMES:
        (folder / name).mkdir()
        (folder / name / "__init__.py").write_text("")
        (folder / name / "parts.py").write_text(PART.format(name=name))
    return ".parts"


@pytest.fixture(params=[project_of_modules, project_of_packages])
def project(
    request: pytest.FixtureRequest, tmp_path: Path
) -> Iterator[tuple[Server, str]]:
    """A server that is started in a user's folder, as users start it."""
    submodule = request.param(tmp_path)
    write_agent(tmp_path, submodule)
    server = Server(
        tmp_path / "langgraph.json",
        folder=tmp_path,
        # The settings of a Django site that the agent is part of.
        DJANGO_SETTINGS_MODULE="site.settings",
    )
    server.start()
    yield server, submodule
    server.stop()


def run(server: Server, thread: str, **request: Any) -> dict[str, Any]:
    answer = httpx.post(
        f"{server.url}/threads/{thread}/runs/wait",
        json={"assistant_id": "agent", **request},
        timeout=WAIT_SECS,
    )
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def test_each_side_finds_its_own_modules(project: tuple[Server, str]) -> None:
    server, submodule = project
    thread = httpx.post(f"{server.url}/threads", json={}, timeout=WAIT_SECS).json()[
        "thread_id"
    ]
    asked = run(server, thread, input={})
    killed = server.worker()

    killed.kill()
    wait_until(lambda: not killed.is_running() and has_worker(server))
    values = run(server, thread, command={"resume": "yes"})

    assert "__interrupt__" in asked
    assert values["kept"] is True
    assert values["found"] == [f"{name}{submodule}" for name in NAMES]
    assert values["places"] == [f"{name} of the user" for name in NAMES]
    assert values["parts"] == [{"number": number} for number, _ in enumerate(NAMES)]


def has_worker(server: Server) -> bool:
    try:
        server.worker()
    except LookupError:
        return False
    return True
