"""The events that the policy gets, and what it may change."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from spool.access.policy import Allowed, Scope
from spool.store.models import StoreItem

pytestmark = pytest.mark.django_db

Rewrite = Callable[[Callable[[Any], Any]], None]


@pytest.fixture
def rewrite(monkeypatch: pytest.MonkeyPatch) -> Rewrite:
    """A policy that replaces the given namespace."""

    def install(change: Callable[[Any], Any]) -> None:
        def authorize(request: Any, event: str, value: Any = None) -> Allowed:
            return Allowed(Scope(), {**value, "namespace": change(value["namespace"])})

        monkeypatch.setattr("spool.access.views.authorize", authorize)

    return install


def test_the_policy_is_asked_in_the_official_words(alice: Any) -> None:
    alice.put_item(["a"], "k", {"x": 1}, index=["x"], ttl=5)
    alice.item("a", "k")
    alice.call("delete", "/store/items", {"namespace": ["a"], "key": "k"})
    alice.search("a", filter={"x": 1}, query="q")
    alice.namespaces(prefix=["a"], suffix=["b"], max_depth=2)

    namespace = ("a",)
    assert alice.asked == [
        (
            "store.put",
            {
                "namespace": namespace,
                "key": "k",
                "value": {"x": 1},
                "index": ["x"],
                "ttl": 5.0,
            },
        ),
        ("store.get", {"namespace": namespace, "key": "k", "refresh_ttl": True}),
        ("store.delete", {"namespace": namespace, "key": "k"}),
        (
            "store.search",
            {
                "namespace": namespace,
                "filter": {"x": 1},
                "limit": 10,
                "offset": 0,
                "query": "q",
                "refresh_ttl": True,
            },
        ),
        (
            "store.list_namespaces",
            {
                "namespace": namespace,
                "suffix": ("b",),
                "max_depth": 2,
                "limit": 100,
                "offset": 0,
            },
        ),
    ]


def test_the_policy_may_rewrite_the_namespace(alice: Any, rewrite: Rewrite) -> None:
    rewrite(lambda namespace: ["u1", *(namespace or ())])

    alice.put_item(["a"], "k", {"x": 1})
    StoreItem.objects.create(path="a", key="k", value={})

    assert alice.item("a", "k").json()["namespace"] == ["u1", "a"]
    assert [item["namespace"] for item in alice.search()] == [["u1", "a"]]
    assert alice.namespaces() == [["u1", "a"]]
    alice.call("delete", "/store/items", {"namespace": ["a"], "key": "k"})
    assert StoreItem.objects.get().namespace == ["a"]


@pytest.mark.parametrize(
    ("rewritten", "status"), [(["a", "b.c"], 422), ([], 400), (["langgraph"], 400)]
)
def test_a_rewritten_namespace_is_checked_again(
    alice: Any, rewrite: Rewrite, rewritten: list[str], status: int
) -> None:
    rewrite(lambda namespace: rewritten)

    response = alice.call(
        "put", "/store/items", {"namespace": ["a"], "key": "k", "value": {}}
    )

    assert response.status_code == status
    assert not StoreItem.objects.exists()


def test_a_policy_that_names_no_namespace_fails_closed(
    alice: Any, rewrite: Rewrite
) -> None:
    rewrite(lambda namespace: "u1")

    response = alice.call("post", "/store/items/search", {})

    assert response.status_code == 500
