from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db.models import Q
from rest_framework.test import APIClient

from access.policy import Scope
from assistants.graphs import registry
from assistants.services import register_system_assistants
from config.langgraph_json import langgraph_json
from crons.models import Cron
from crons.services import database_now
from threads.models import Thread

GRAPH = """
from langgraph.graph import StateGraph

echo = StateGraph(dict)
echo.add_node("echo", lambda state: state)
echo.set_entry_point("echo")
"""


@pytest.fixture(scope="session", autouse=True)
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


class Client(APIClient):
    """Speaks JSON, for one owner."""

    def __init__(self, identity: str) -> None:
        super().__init__()
        self.identity = identity

    def call(self, method: str, path: str, body: Any = None) -> Any:
        sent = {} if method == "get" else {"data": json.dumps(body)}
        return getattr(self, method)(
            path,
            **sent,
            content_type="application/json",
            HTTP_X_IDENTITY=self.identity,
        )


@pytest.fixture
def _policy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each caller stamps what they make, and sees what has their stamp."""

    def authorize(request: Any, event: str, value: dict[str, Any] | None = None) -> Any:
        identity = request.META["HTTP_X_IDENTITY"]
        if value and "metadata" in value:
            value["metadata"]["owner"] = identity
        user = {"identity": identity, "permissions": ["run"]}
        return Scope(identity, Q(owner=identity), user)

    monkeypatch.setattr("access.views.authorize", authorize)
    monkeypatch.setattr("crons.views.authorize", authorize)


@pytest.fixture
def alice(_policy: None) -> Client:
    return Client("alice")


@pytest.fixture
def bob(_policy: None) -> Client:
    return Client("bob")


@pytest.fixture
def thread(db: None) -> Thread:
    return Thread.objects.create(metadata={"owner": "alice"})


@pytest.fixture
def make_cron(alice: Client, db: None) -> Callable[..., Cron]:
    """A cron of alice's, every minute unless told otherwise."""

    def make(thread: Thread | None = None, **body: Any) -> Cron:
        path = f"/threads/{thread.id}/runs/crons" if thread else "/runs/crons"
        given = {"assistant_id": "echo", "schedule": "* * * * *", **body}
        response = alice.call("post", path, given)
        assert response.status_code == 200, response.content
        return Cron.objects.get(pk=response.json()["cron_id"])

    return make


@pytest.fixture
def make_due() -> Callable[..., None]:
    """Let a cron's next slot be so many seconds ago."""

    def make(cron: Cron, seconds: float = 1) -> None:
        slot = database_now().replace(microsecond=0) - timedelta(seconds=seconds)
        Cron.objects.filter(pk=cron.pk).update(next_run_date=slot)
        cron.refresh_from_db()

    return make
