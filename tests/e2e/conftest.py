from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from spool.tests.company import ENVIRONMENT, Company
from spool.tests.conftest import CONFIG
from spool.tests.live import Server, serving

GRAPH = """
from langgraph.graph import START, StateGraph

builder = StateGraph(dict)
builder.add_node("echo", lambda state: state)
builder.add_edge(START, "echo")
graph = builder.compile()
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A `langgraph.json` of one small graph."""
    (tmp_path / "agent.py").write_text(GRAPH)
    file = tmp_path / "langgraph.json"
    file.write_text(
        json.dumps({"dependencies": ["."], "graphs": {"echo": "./agent.py:graph"}})
    )
    return file


@pytest.fixture(scope="module")
def staffless() -> Iterator[Server]:
    """A server without workers."""
    with serving(CONFIG, workers=0, **ENVIRONMENT) as server:
        yield server


@pytest.fixture
def company(staffless: Server) -> Iterator[Company]:
    """The workers of one test."""
    staffless.wait_until_ready()
    company = Company(staffless)
    yield company
    company.dismiss()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """The file in which graphs note the steps that they begin."""
    return tmp_path / "begun"
