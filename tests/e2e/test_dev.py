"""`spool dev` loads new code when a file changes, and no run is affected."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from spool.tests.e2e.starting import started
from spool.tests.live import WAIT_SECS, free_port, wait_until

pytestmark = pytest.mark.e2e

AGENT = """
import time
from typing import TypedDict

from langgraph.graph import START, StateGraph
from langgraph.types import interrupt


class State(TypedDict, total=False):
    first: str
    second: str
    secs: float


def first(state: State) -> State:
    time.sleep(state.get("secs", 0))
    return {"first": "CODE"}


def second(state: State) -> State:
    if not state.get("secs"):
        interrupt("go on?")
    return {"second": "CODE"}


builder = StateGraph(State).add_node("first", first).add_node("second", second)
graph = builder.add_edge(START, "first").add_edge("first", "second").compile()
"""


class Project:
    """A user's folder, and the server that runs beside their editor."""

    def __init__(self, folder: Path, url: str, output: Path) -> None:
        self.folder = folder
        self.output = output
        # This client doesn't retry failed requests, so it must not reuse a connection
        # to a web process that is stopping.
        no_reuse = httpx.Limits(max_keepalive_connections=0)
        self.http = httpx.Client(base_url=url, timeout=WAIT_SECS, limits=no_reuse)

    def save(self, code: str) -> None:
        (self.folder / "agent.py").write_text(AGENT.replace("CODE", code))

    def wait_for(self, text: str, times: int = 1) -> None:
        wait_until(lambda: self.output.read_text().count(text) >= times)

    def thread(self) -> str:
        thread_id: str = self.http.post("/threads", json={}).json()["thread_id"]
        return thread_id

    def run(self, thread: str, **request: Any) -> dict[str, Any]:
        answer = self.http.post(
            f"/threads/{thread}/runs/wait", json={"assistant_id": "agent", **request}
        )
        assert answer.status_code == 200, answer.text
        values: dict[str, Any] = answer.json()
        return values


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    folder = tmp_path / "project"
    folder.mkdir()
    graphs = {"graphs": {"agent": "./agent.py:graph"}, "dependencies": ["."]}
    config = folder / "langgraph.json"
    config.write_text(json.dumps(graphs))
    port = free_port()
    project = Project(folder, f"http://127.0.0.1:{port}", tmp_path / "output")
    project.save("old")
    with started(config, tmp_path, command="dev", PORT=str(port)):
        project.wait_for("Spool is ready")
        yield project
    project.http.close()


def test_new_code_is_served_and_broken_code_is_not(project: Project) -> None:
    asked = project.thread()
    assert project.run(asked, input={})["first"] == "old"
    begun = project.thread()
    url = f"/threads/{begun}/runs"
    request = {"assistant_id": "agent", "input": {"secs": 3}}
    slow = project.http.post(url, json=request).json()
    wait_until(lambda: status(project, slow) == "running")

    project.save("new")
    project.wait_for("The new code is in use")

    joined = project.http.get(f"{url}/{slow['run_id']}/join").json()
    assert joined["first"] == joined["second"] == "old"
    resumed = project.run(asked, command={"resume": "yes"})
    assert (resumed["first"], resumed["second"]) == ("old", "new")

    project.save('broken" (')
    project.wait_for("The old code stays in use.")

    assert "agent.py:17: SyntaxError" in project.output.read_text()
    assert project.run(project.thread(), input={})["first"] == "new"

    project.save("newest")
    project.wait_for("The new code is in use", times=2)

    assert project.run(project.thread(), input={})["first"] == "newest"


def status(project: Project, run: dict[str, Any]) -> str:
    url = f"/threads/{run['thread_id']}/runs/{run['run_id']}"
    found: str = project.http.get(url).json()["status"]
    return found
