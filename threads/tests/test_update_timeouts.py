"""Updates whose graph hangs time out, and release their lock and connection."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from spool.assistants.graphs import registry
from spool.config.langgraph_json import langgraph_json
from spool.database.loop import shared_loop
from spool.threads.models import Thread
from spool.threads.tests.running import checkpoint_rows
from spool.threads.updates import state_update, update_state
from spool.web.errors import BadRequest

pytestmark = pytest.mark.django_db(transaction=True)

GRAPH = """
import asyncio
from langgraph.graph import START, StateGraph

async def choose(state):
    await asyncio.Event().wait()

hangs = StateGraph(dict)
hangs.add_node("one", lambda state: state)
hangs.add_edge(START, "one")
hangs.add_conditional_edges("one", choose)
"""


@pytest.fixture
def thread(
    graphs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Thread]:
    """A thread of a graph with a condition that hangs."""
    (tmp_path / "hanging.py").write_text(GRAPH)
    config = tmp_path / "langgraph.json"
    config.write_text(json.dumps({"graphs": {"hangs": "./hanging.py:hangs"}}))
    with monkeypatch.context() as patch:
        patch.setattr("django.conf.settings.LANGGRAPH_CONFIG", config)
        langgraph_json.cache_clear()
        registry.cache_clear()
        yield Thread.objects.create(metadata={"owner": "alice", "graph_id": "hangs"})
    langgraph_json.cache_clear()
    registry.cache_clear()


def test_an_update_that_hangs_is_taken_back(
    thread: Thread, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("spool.threads.updates.BUILD_TIMEOUT_SECS", 0.3)

    with pytest.raises(BadRequest, match=r"within 0\.3 seconds"):
        update_state(thread, [[state_update({"a": 1}, as_node="one")]])

    assert set(checkpoint_rows(thread).values()) == {0}
    # The update's connection is back in the pool.
    assert shared_loop().pool.get_stats()["pool_available"] > 0
