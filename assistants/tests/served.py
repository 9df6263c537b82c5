"""A server with the graphs of the tests: fixtures for the apps that lean on it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from assistants.graphs import registry
from assistants.services import register_system_assistants
from config.langgraph_json import langgraph_json
from config.loop import close_shared_loop

GRAPHS = Path(__file__).parents[2] / "tests" / "graphs" / "langgraph.json"


def forget_graphs() -> None:
    langgraph_json.cache_clear()
    registry.cache_clear()


@pytest.fixture(scope="module", autouse=True)
def graphs() -> Iterator[Path]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("django.conf.settings.LANGGRAPH_CONFIG", GRAPHS)
        forget_graphs()
        yield GRAPHS
        # Its connections must be gone before the test's database goes.
        close_shared_loop()
    forget_graphs()


@pytest.fixture(autouse=True)
def _system_assistants(request: pytest.FixtureRequest, graphs: Path) -> None:
    marker = request.node.get_closest_marker("django_db")
    if marker:
        request.getfixturevalue(
            "transactional_db" if marker.kwargs.get("transaction") else "db"
        )
        register_system_assistants()
