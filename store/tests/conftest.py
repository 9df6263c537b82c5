from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from spool.access.policy import Allowed, Scope
from spool.config.langgraph_json import langgraph_json
from spool.database.loop import Loop
from spool.store import index, vectors
from spool.store.backend import PostgresStore
from spool.store.reindex import drop_tables
from spool.store.tests import embedding
from spool.store.tests.clients import Caller, Client
from spool.store.tests.indexing import EMBEDDING, Configure, asked


@pytest.fixture
def clients(monkeypatch: pytest.MonkeyPatch, db: None) -> dict[str, Client]:
    """Clients of a server where each caller is an owner with their own items."""
    made = {name: Client(name) for name in ("alice", "bob")}

    def authorize(request: Any, event: str, value: Any = None) -> Allowed:
        identity = request.META["HTTP_X_IDENTITY"]
        made[identity].asked.append((event, dict(value)))
        return Allowed(Scope(owner=identity, user={"identity": identity}), value)

    monkeypatch.setattr("spool.access.views.authorize", authorize)
    return made


@pytest.fixture
def alice(clients: dict[str, Client]) -> Client:
    return clients["alice"]


@pytest.fixture
def bob(clients: dict[str, Client]) -> Client:
    return clients["bob"]


@pytest.fixture(scope="session")
def loop(django_db_setup: None) -> Iterator[Loop]:
    """An event loop like those of graphs, with its own connections."""
    loop = Loop(name="store-tests", pool_size=8)
    yield loop
    loop.close()


MakeStore = Callable[[str], PostgresStore]


@pytest.fixture
def make_store(loop: Loop) -> Iterator[MakeStore]:
    """Create stores of any owner. Their items are committed, and deleted at the end."""

    async def made(owner: str) -> PostgresStore:
        return PostgresStore(loop.pool, owner)

    async def empty() -> None:
        async with loop.pool.connection() as conn:
            await conn.execute("DELETE FROM store_items")

    yield lambda owner: loop.run(made(owner))
    loop.run(empty())


@pytest.fixture(params=["sync", "async"])
def make_caller(
    request: pytest.FixtureRequest, make_store: MakeStore, loop: Loop
) -> Callable[[str], Caller]:
    def make(owner: str) -> Caller:
        store = make_store(owner)

        def sync(name: str, *args: Any, **kwargs: Any) -> Any:
            return getattr(store, name)(*args, **kwargs)

        def on_loop(name: str, *args: Any, **kwargs: Any) -> Any:
            return loop.run(getattr(store, f"a{name}")(*args, **kwargs))

        return Caller(store, {"sync": sync, "async": on_loop}[request.param])

    return make


@pytest.fixture
def configure_index(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Configure]:
    """Configure a semantic index, of the field `text` by default.

    `None` means no index.
    """

    def write(name: str | None = "embed", **more: Any) -> None:
        embed = name if name and ":" in name else f"{EMBEDDING}:{name}"
        given = {"dims": embedding.DIMS, "embed": embed, **more}
        store = {"index": given} if name else {}
        configured = {"graphs": {"g": "g.py:g"}, "store": store}
        path = tmp_path / "langgraph.json"
        path.write_text(json.dumps(configured))
        monkeypatch.setattr("django.conf.settings.LANGGRAPH_CONFIG", path)
        langgraph_json.cache_clear()
        index.embeddings.cache_clear()

    write(fields=["text"])
    vectors.prepare_index()
    asked().clear()
    yield write
    drop_tables(kept=None)
    langgraph_json.cache_clear()
