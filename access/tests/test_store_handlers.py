"""Handlers for the store."""

from __future__ import annotations

import pytest

from spool.access.tests.bearers import BY_NAME, OWNERS, call
from spool.access.tests.conftest import Serve
from spool.store.models import StoreItem

pytestmark = pytest.mark.django_db

SCOPED_STORE = (
    BY_NAME
    + """
@auth.on.store
async def scope(ctx, value):
    namespace = tuple(value["namespace"] or ())
    if namespace[:1] != ("shared",):
        namespace = (ctx.user.identity, *namespace)
    value["namespace"] = namespace
"""
)
ITEM = {"namespace": ["notes"], "key": "k", "value": {"by": "alice"}}


def test_a_store_handler_rewrites_the_namespace(serve: Serve) -> None:
    serve(SCOPED_STORE)

    assert call("alice", "put", "/store/items", ITEM).status_code == 204

    path = "/store/items?namespace=notes&key=k"
    assert StoreItem.objects.get().path == "alice.notes"
    assert call("alice", "get", path).json()["value"] == {"by": "alice"}
    assert call("bob", "get", path).json() is None
    assert call("bob", "post", "/store/items/search").json() == {"items": []}
    assert call("bob", "delete", "/store/items", ITEM).status_code == 204
    assert StoreItem.objects.count() == 1


def test_what_a_store_handler_shares_is_shared(serve: Serve) -> None:
    serve(SCOPED_STORE)

    call("alice", "put", "/store/items", {**ITEM, "namespace": ["shared"]})

    found = call("bob", "get", "/store/items?namespace=shared&key=k")
    assert found.json()["value"] == {"by": "alice"}


def test_whatever_a_store_handler_changes_holds(serve: Serve) -> None:
    serve(
        BY_NAME
        + """
@auth.on.store.put
async def stamp(ctx, value):
    value["value"] = {**value["value"], "by": ctx.user.identity}
    value["ttl"] = 5

@auth.on.store.search
async def own(ctx, value):
    value["filter"] = {**(value["filter"] or {}), "by": ctx.user.identity}
    value["limit"] = 1
"""
    )
    call("alice", "put", "/store/items", {**ITEM, "key": "old"})
    call("alice", "put", "/store/items", ITEM)
    call("bob", "put", "/store/items", {**ITEM, "key": "of bob"})

    found = call("alice", "post", "/store/items/search", {"limit": 10}).json()

    assert [item["key"] for item in found["items"]] == ["k"]
    assert set(StoreItem.objects.values_list("key", "value__by", "ttl_minutes")) == {
        ("old", "alice", 5),
        ("k", "alice", 5),
        ("of bob", "bob", 5),
    }


def test_a_rewritten_namespace_is_checked_again(serve: Serve) -> None:
    serve(
        BY_NAME + "\n@auth.on.store\nasync def bad(ctx, value):\n"
        "    value['namespace'] = ('a.b',)\n"
    )

    assert call("alice", "put", "/store/items", ITEM).status_code == 422


@pytest.mark.parametrize("source", [BY_NAME, OWNERS], ids=["none", "for everything"])
def test_without_a_store_handler_each_has_their_own(serve: Serve, source: str) -> None:
    serve(source)

    call("alice", "put", "/store/items", ITEM)

    path = "/store/items?namespace=notes&key=k"
    assert call("alice", "get", path).json() is not None
    assert call("bob", "get", path).json() is None


def test_a_filter_for_a_shared_store_is_refused(serve: Serve) -> None:
    serve(
        SCOPED_STORE.replace(
            '    value["namespace"] = namespace', "    return {'a': 1}"
        )
    )

    assert call("alice", "put", "/store/items", ITEM).status_code == 500
