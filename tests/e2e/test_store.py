"""The store of a whole server: semantic search, and expiry."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from langgraph_sdk import get_sync_client

from spool.store.tests import embedding
from spool.tests.live import ROOT, Server, manage, serving, wait_until

pytestmark = pytest.mark.e2e

GRAPH = ROOT / "tests" / "graphs" / "recall.py"
EMBED = f"{embedding.__file__}:embed"
INDEX = {"dims": embedding.DIMS, "embed": EMBED, "fields": ["text"]}
TTL = {"sweep_interval_minutes": 0.02}
TEN_MINUTES_LATER = "UPDATE store_items SET expires_at = expires_at - interval '10 min'"


def write(folder: Path, **store: Any) -> Path:
    path = folder / "langgraph.json"
    path.write_text(
        json.dumps({"graphs": {"recall": f"{GRAPH}:graph"}, "store": store})
    )
    return path


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with serving(write(tmp_path, index=INDEX, ttl=TTL)) as server:
        yield server


def test_graphs_and_clients_find_by_meaning(server: Server, tmp_path: Path) -> None:
    with get_sync_client(url=server.url) as client:

        def recall(**given: str) -> Any:
            values: Any = client.runs.wait(None, "recall", input=given)
            return values["found"]

        def search(query: str) -> list[str]:
            found = client.store.search_items(["facts"], query=query)["items"]
            return [item["key"] for item in found]

        client.store.put_item(["facts"], "tea", value={"text": "alice likes tea"})
        recall(keep="bob drinks coffee")
        [[key, score]] = recall(find="likes tea")
        assert key == "tea"
        assert score > 0.8
        assert search("coffee")[0] == "bob drinks coffee"

        # Another configuration, for which the existing items are not indexed yet.
        write(tmp_path, index={**INDEX, "fields": ["text", "more"]})
        server.stop(keep_home=True)
        server.start()
        assert search("tea") == []
        assert "reindex_store" in server.output()
        indexed = manage(server, "reindex_store")
        assert "2 of 2 items" in indexed
        assert search("likes tea")[0] == "tea"
        assert recall(find="drinks coffee")[0][0] == "bob drinks coffee"


def test_what_has_had_its_time_is_swept(server: Server) -> None:
    with (
        get_sync_client(url=server.url) as client,
        psycopg.connect(
            server.environment()["DATABASE_URL"], autocommit=True
        ) as database,
    ):
        client.store.put_item(["a"], "gone", value={"text": "x"}, ttl=10)
        client.store.put_item(["a"], "stays", value={"text": "x"})

        def keys() -> list[Any]:
            return database.execute("SELECT key FROM store_items").fetchall()

        assert sorted(keys()) == [("gone",), ("stays",)]
        database.execute(TEN_MINUTES_LATER)
        wait_until(lambda: keys() == [("stays",)])


def test_an_index_that_cannot_be_had_is_told_in_one_line(tmp_path: Path) -> None:
    server = Server(write(tmp_path, index={**INDEX, "embed": "unknown:model"}))

    with pytest.raises(RuntimeError, match=r"store\.index\.embed unknown:model"):
        server.start()

    password, reason = server.output().strip().splitlines()
    assert "password" in password  # Printed, since it would be lost otherwise.
    assert reason.startswith("spool: ")
    server.stop()
