"""A graph of one server calls a tool of another, with `langchain-mcp-adapters`."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from spool.tests.live import Server, serving

FOLDER = Path(__file__).parent / "mcp_adapters"

pytestmark = [pytest.mark.e2e, pytest.mark.long]


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Packages that the graph needs, and that Spool's own environment can't have."""
    folder = tmp_path_factory.mktemp("packages")
    install = ["-m", "uv", "pip", "install", "--quiet", "--no-deps"]
    where = ["--target", str(folder), "-r", str(FOLDER / "requirements.txt")]
    subprocess.run([sys.executable, *install, *where], check=True, timeout=300)
    return folder


def test_a_graph_calls_a_tool_of_another_spool(server: Server, packages: Path) -> None:
    path = os.pathsep.join([str(packages), os.environ.get("PYTHONPATH", "")])
    config, url = FOLDER / "langgraph.json", f"{server.url}/mcp"

    with serving(config, OTHER_SPOOL=url, PYTHONPATH=path) as asking:
        run = {"assistant_id": "asking", "input": {"text": "hello"}}
        answer = httpx.post(f"{asking.url}/runs/wait", json=run, timeout=60).json()

    assert {"echo", "chat", "human"} <= set(answer["tools"])
    said = answer["answer"]["structured_content"]["messages"]
    assert [message["content"] for message in said] == ["hello", "echo: hello"]
