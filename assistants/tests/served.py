"""A server with all test graphs, or with one of them, for the fixtures of the apps."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from spool.assistants.graphs import registry
from spool.assistants.revisions import revisions
from spool.assistants.services import register_system_assistants
from spool.config.langgraph_json import langgraph_json
from spool.database.loop import close_shared_loop

GRAPHS = Path(__file__).parents[2] / "tests" / "graphs" / "langgraph.json"


ECHO = """
from langgraph.graph import StateGraph

echo = StateGraph(dict)
echo.add_node("echo", lambda state: state)
echo.set_entry_point("echo")
"""


def forget_graphs() -> None:
    langgraph_json.cache_clear()
    registry.cache_clear()
    revisions.cache_clear()


@contextmanager
def serving(config: Path, forget: Callable[[], None] = forget_graphs) -> Iterator[None]:
    """A server of this langgraph.json, without state of earlier ones."""
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("django.conf.settings.LANGGRAPH_CONFIG", config)
            forget()
            yield
    finally:
        forget()


def write_echo(folder: Path, **sections: Any) -> Path:
    """Write a langgraph.json with one graph, `echo`."""
    (folder / "echo.py").write_text(ECHO)
    path = folder / "langgraph.json"
    path.write_text(json.dumps({"graphs": {"echo": "./echo.py:echo"}, **sections}))
    return path


@pytest.fixture(scope="module", autouse=True)
def graphs() -> Iterator[Path]:
    with serving(GRAPHS):
        yield GRAPHS
        # Close its connections before the test database is dropped.
        close_shared_loop()


@pytest.fixture(autouse=True)
def _system_assistants(request: pytest.FixtureRequest, graphs: Path) -> None:
    marker = request.node.get_closest_marker("django_db")
    if marker:
        request.getfixturevalue(
            "transactional_db" if marker.kwargs.get("transaction") else "db"
        )
        register_system_assistants()
