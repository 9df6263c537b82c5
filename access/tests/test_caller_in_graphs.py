"""Graphs can read the caller in each way that LangGraph documents."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID, uuid5

import pytest

from spool.access.tests.bearers import call
from spool.access.tests.conftest import forget_config
from spool.assistants.services import register_system_assistants
from spool.assistants.tests.served import serving
from spool.runs.models import Run
from spool.runs.tests.executing import Here
from spool.threads.models import Thread

pytestmark = pytest.mark.django_db(transaction=True)

CONFIG = Path(__file__).parents[2] / "tests" / "graphs" / "who.langgraph.json"
ORGANISATIONS = UUID("6ba7b811-9dad-11d1-80b4-00c04fd430c8")


@pytest.fixture(autouse=True)
def _who(db: None) -> Iterator[None]:
    with serving(CONFIG, forget_config):
        register_system_assistants()
        yield


@pytest.fixture
def here(db: None) -> Iterator[Here]:
    here = Here()
    yield here
    here.close()


def test_a_graph_knows_its_caller(here: Here) -> None:
    thread = call("alice", "post", "/threads").json()
    path = f"/threads/{thread['thread_id']}"
    body: dict[str, Any] = {"assistant_id": "who", "context": {"a": 1}, "input": {}}

    made = call("alice", "post", f"{path}/runs", body)

    assert made.status_code == 200, made.json()
    assert here.execute(Run.objects.get()) is not None
    assert call("alice", "get", path).json()["values"]["out"] == {
        "attribute": "alice",
        "item": "alice",
        "server_info": "alice",
        "injected": "by the handler",
        "context": {"a": 1},
    }


def test_rows_are_kept_apart_by_a_uuid() -> None:
    made = call("alice", "post", "/threads").json()

    organisation = str(uuid5(ORGANISATIONS, "alice"))
    assert Thread.objects.get().metadata["organisation"] == organisation
    path = f"/threads/{made['thread_id']}"
    assert call("alice", "get", path).status_code == 200
    assert call("bob", "get", path).status_code == 404
    assert call("bob", "post", "/threads/search").json() == []


def test_a_user_without_identity_is_a_bad_request() -> None:
    response = call("unnamed", "post", "/threads")

    assert response.status_code == 400
    assert "identity" in response.json()["detail"]
