"""The error at start for a function that can't build a graph."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.conf import LazySettings

from spool.assistants.graphs import registry
from spool.config.langgraph_json import langgraph_json


@pytest.fixture
def folder(tmp_path: Path, settings: LazySettings) -> Iterator[Path]:
    settings.LANGGRAPH_CONFIG = tmp_path / "langgraph.json"
    _forget()
    yield tmp_path
    _forget()


def _forget() -> None:
    langgraph_json.cache_clear()
    registry.cache_clear()


def test_no_line_of_spools_own_is_named(folder: Path) -> None:
    (folder / "agent.py").write_text("def make(config, model): ...\n")
    graphs = {"agent": "./agent.py:make"}
    (folder / "langgraph.json").write_text(json.dumps({"graphs": graphs}))

    with pytest.raises(SystemExit) as refused:
        registry()

    assert str(refused.value) == (
        "spool: graph 'agent' (./agent.py:make): UnknownParameter: the parameter "
        "'model' is neither a RunnableConfig nor a ServerRuntime"
    )
