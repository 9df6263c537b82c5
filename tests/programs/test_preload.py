"""What is loaded before the programs are forked must still work in them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from spool.tests.live import ROOT

# Run it in a new interpreter: this one has threads and connections.
LOAD = """
import json, os, sys, threading
import psutil
import spool.preload
from spool.database.ids import uuid7
print(json.dumps({
    "threads": [thread.name for thread in threading.enumerate()],
    "native threads": psutil.Process().num_threads(),
    "connections": [str(one) for one in psutil.Process().net_connections("all")],
    "modules": list(sys.modules),
}), flush=True)
uuid7()
for _ in range(2):
    child = os.fork()
    if child == 0:
        print(json.dumps([str(uuid7()) for _ in range(100)]), flush=True)
        os._exit(0)
    os.waitpid(child, 0)
"""

LIMIT = """
import spool.preload
from langgraph._internal._config import DEFAULT_RECURSION_LIMIT
print(DEFAULT_RECURSION_LIMIT)
"""


def test_the_operators_own_routes_are_not_loaded(tmp_path: Path) -> None:
    (tmp_path / "agent.py").write_text("raise RuntimeError")
    (tmp_path / "pages.py").write_text("raise RuntimeError")
    file = tmp_path / "langgraph.json"
    graphs, http = {"echo": "./agent.py:graph"}, {"app": "./pages.py:app"}
    env = {"LANGGRAPH_DEFAULT_RECURSION_LIMIT": "7"}
    file.write_text(json.dumps({"graphs": graphs, "http": http, "env": env}))

    loaded = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", LIMIT],
        cwd=ROOT,
        env={**os.environ, "LANGGRAPH_CONFIG": str(file)},
        capture_output=True,
        text=True,
    )

    # LangGraph reads it from the environment when it is imported.
    assert (loaded.stdout, loaded.stderr) == ("7\n", "")


def test_what_is_loaded_survives_a_fork() -> None:
    loaded = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", LOAD],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )

    before, *children = [json.loads(line) for line in loaded.stdout.splitlines()]
    assert before["threads"] == ["MainThread"]
    assert before["native threads"] == 1
    assert before["connections"] == []
    assert {"spool.programs.web", "spool.runs.tasks", "uvicorn", "celery"} <= set(
        before["modules"]
    )
    assert not {name for name in before["modules"] if name.startswith("examples")}
    # These are large, and not used: see `preload`.
    unused = {"opentelemetry.sdk.metrics", "rich", "click_repl", "prompt_toolkit"}
    assert not unused & set(before["modules"])
    assert "langchain_core.language_models.chat_models" in before["modules"]
    # The random part of each id, without its time.
    random = [one[20:] for ids in children for one in ids]
    assert len(set(random)) == len(random) == 200
