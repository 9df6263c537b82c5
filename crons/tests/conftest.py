from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from access.tests.people import Client
from assistants.graphs import registry
from assistants.services import register_system_assistants
from config.langgraph_json import langgraph_json
from crons.models import Cron
from crons.services import database_now
from threads.models import Thread

MakeCron = Callable[..., Cron]
MakeDue = Callable[..., None]

GRAPH = """
from langgraph.graph import StateGraph

echo = StateGraph(dict)
echo.add_node("echo", lambda state: state)
echo.set_entry_point("echo")
"""


@pytest.fixture(scope="module", autouse=True)
def graphs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A server with one graph, `echo`."""
    folder = tmp_path_factory.mktemp("graphs")
    (folder / "crons_echo.py").write_text(GRAPH)
    path = folder / "langgraph.json"
    path.write_text(json.dumps({"graphs": {"echo": "./crons_echo.py:echo"}}))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("django.conf.settings.LANGGRAPH_CONFIG", path)
        forget_graphs()
        yield path
    forget_graphs()


def forget_graphs() -> None:
    langgraph_json.cache_clear()
    registry.cache_clear()


@pytest.fixture(autouse=True)
def _system_assistants(request: pytest.FixtureRequest) -> None:
    if request.node.get_closest_marker("django_db"):
        request.getfixturevalue("db")
        register_system_assistants()


@pytest.fixture
def thread(db: None) -> Thread:
    return Thread.objects.create(metadata={"owner": "alice"})


@pytest.fixture
def make_cron(alice_client: Client) -> MakeCron:
    """A cron of alice's, at new year unless told otherwise: no test sees its slot come."""

    def make(thread: Thread | None = None, **body: Any) -> Cron:
        path = f"/threads/{thread.id}/runs/crons" if thread else "/runs/crons"
        given = {"assistant_id": "echo", "schedule": "0 0 1 1 *", **body}
        response = alice_client.call("post", path, given)
        assert response.status_code == 200, response.content
        return Cron.objects.get(pk=response.json()["cron_id"])

    return make


@pytest.fixture
def make_due() -> MakeDue:
    """Let a cron's next slot be so many seconds ago."""

    def make(cron: Cron, seconds: float = 1) -> None:
        slot = database_now().replace(microsecond=0) - timedelta(seconds=seconds)
        Cron.objects.filter(pk=cron.pk).update(next_run_date=slot)
        cron.refresh_from_db()

    return make
