from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from rest_framework.test import APIClient

from access.policy import Scope
from config.loop import Loop
from store.backend import PostgresStore


class Client(APIClient):
    """Speaks JSON, for one owner. `asked` is what the policy was asked for it."""

    def __init__(self, identity: str) -> None:
        super().__init__(HTTP_X_IDENTITY=identity)
        self.asked: list[tuple[str, dict[str, Any]]] = []

    def call(self, method: str, path: str, body: Any = None) -> Any:
        # Escaped, so that it can hold what is no UTF-8.
        text = json.dumps(body)
        return getattr(self, method)(path, text, content_type="application/json")

    def item(self, namespace: str, key: str, **query: str) -> Any:
        query = {"namespace": namespace, "key": key, **query}
        return self.get("/store/items", query)

    def put_item(self, namespace: list[str], key: str, value: Any, **more: Any) -> Any:
        body = {"namespace": namespace, "key": key, "value": value, **more}
        response = self.call("put", "/store/items", body)
        assert response.status_code == 204, response.content
        return response

    def search(self, *prefix: str, **body: Any) -> list[dict[str, Any]]:
        body = {"namespace_prefix": list(prefix), **body}
        response = self.call("post", "/store/items/search", body)
        assert response.status_code == 200, response.content
        found: list[dict[str, Any]] = response.json()["items"]
        return found

    def keys(self, *prefix: str, **body: Any) -> list[str]:
        return [item["key"] for item in self.search(*prefix, **body)]

    def namespaces(self, **body: Any) -> list[list[str]]:
        response = self.call("post", "/store/namespaces", body)
        assert response.status_code == 200, response.content
        found: list[list[str]] = response.json()["namespaces"]
        return found


@pytest.fixture
def clients(monkeypatch: pytest.MonkeyPatch, db: None) -> dict[str, Client]:
    """Clients of a server whose callers are owners, each with items of their own."""
    made = {name: Client(name) for name in ("alice", "bob")}

    def authorize(request: Any, event: str, value: Any = None) -> Scope:
        identity = request.META["HTTP_X_IDENTITY"]
        made[identity].asked.append((event, dict(value)))
        return Scope(owner=identity, user={"identity": identity})

    monkeypatch.setattr("access.views.authorize", authorize)
    return made


@pytest.fixture
def alice(clients: dict[str, Client]) -> Client:
    return clients["alice"]


@pytest.fixture
def bob(clients: dict[str, Client]) -> Client:
    return clients["bob"]


@pytest.fixture(scope="session")
def loop(django_db_setup: None) -> Iterator[Loop]:
    """A loop as graphs have it, with connections of its own."""
    loop = Loop(name="store-tests", pool_size=8)
    yield loop
    loop.close()


MakeStore = Callable[[str], PostgresStore]


@pytest.fixture
def make_store(loop: Loop) -> Iterator[MakeStore]:
    """Stores of any owner. What they hold is committed, and deleted in the end."""

    async def made(owner: str) -> PostgresStore:
        return PostgresStore(loop.pool, owner)

    async def empty() -> None:
        async with loop.pool.connection() as conn:
            await conn.execute("DELETE FROM store_items")

    yield lambda owner: loop.run(made(owner))
    loop.run(empty())


class Caller:
    """One store, called by its synchronous or by its asynchronous methods."""

    def __init__(self, store: PostgresStore, call: Callable[..., Any]) -> None:
        self.store = store
        self._call = call

    def __getattr__(self, name: str) -> Callable[..., Any]:
        return lambda *args, **kwargs: self._call(name, *args, **kwargs)

    def keys(self, *prefix: str, **how: Any) -> list[str]:
        return [item.key for item in self.search(prefix, **how)]

    def namespaces(self, **how: Any) -> list[str]:
        return [".".join(labels) for labels in self.list_namespaces(**how)]


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
