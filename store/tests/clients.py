"""Clients of the store: over HTTP, and from within a graph."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from rest_framework.test import APIClient

from spool.store.backend import PostgresStore


class Client(APIClient):
    """A JSON client for one owner. `asked` has the events sent to the policy."""

    def __init__(self, identity: str) -> None:
        super().__init__(HTTP_X_IDENTITY=identity)
        self.asked: list[tuple[str, dict[str, Any]]] = []

    def call(self, method: str, path: str, body: Any = None) -> Any:
        # Escaped, so that it can contain invalid UTF-8.
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


class Caller:
    """Calls a store by its synchronous or its asynchronous methods."""

    def __init__(self, store: PostgresStore, call: Callable[..., Any]) -> None:
        self.store = store
        self._call = call

    def __getattr__(self, name: str) -> Callable[..., Any]:
        return lambda *args, **kwargs: self._call(name, *args, **kwargs)

    def keys(self, *prefix: str, **how: Any) -> list[str]:
        return [item.key for item in self.search(prefix, **how)]

    def namespaces(self, **how: Any) -> list[str]:
        return [".".join(labels) for labels in self.list_namespaces(**how)]
