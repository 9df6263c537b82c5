"""What LangGraph expects of a store: the same tests for its sync and async methods."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from enum import Enum
from typing import Any
from uuid import UUID

import pytest
from langchain_core.messages import AIMessage
from langgraph.store.base import (
    GetOp,
    InvalidNamespaceError,
    Item,
    ListNamespacesOp,
    MatchCondition,
    PutOp,
    SearchItem,
    SearchOp,
)

from spool.store.namespaces import MAX_PLACE_BYTES
from spool.store.statements import MAX_CONDITIONS
from spool.store.tests.clients import Caller, Client

# The stores have their own connections; this makes pytest-django set up the database.
pytestmark = pytest.mark.django_db


@pytest.fixture
def store(make_caller: Callable[[str], Caller]) -> Caller:
    return make_caller("alice")


class Colour(Enum):
    RED = "red"


# --- Items --------------------------------------------------------------------------
def test_put_and_get(store: Caller) -> None:
    store.put(("users", "u1"), "k", {"a": [1, {"b": None}]})

    item = store.get(("users", "u1"), "k")
    assert type(item) is Item
    assert (item.namespace, item.key) == (("users", "u1"), "k")
    assert item.value == {"a": [1, {"b": None}]}
    assert item.created_at.tzinfo is not None
    assert abs((item.updated_at - item.created_at).total_seconds()) < 1
    assert item == store.get(("users", "u1"), "k")


def test_get_what_is_not_there(store: Caller) -> None:
    store.put(("a", "b"), "k", {})

    assert store.get(("a",), "k") is None
    assert store.get(("a", "b"), "other") is None
    assert store.get(("a", "b", "c"), "k") is None


def test_put_replaces_the_whole_value(store: Caller) -> None:
    store.put(("a",), "k", {"old": 1})
    before = store.get(("a",), "k")

    store.put(("a",), "k", {"new": 1})

    after = store.get(("a",), "k")
    assert after.value == {"new": 1}
    assert after.created_at == before.created_at
    assert after.updated_at > before.updated_at


def test_delete(store: Caller) -> None:
    store.put(("a",), "k", {})
    store.put(("a",), "other", {})

    store.delete(("a",), "k")
    store.delete(("a",), "k")

    assert store.keys("a") == ["other"]


def test_values_hold_what_graphs_put_there(store: Caller) -> None:
    value = {
        "id": UUID(int=7),
        "at": datetime(2026, 1, 2, tzinfo=UTC),
        "colour": Colour.RED,
        "raw": b"\x00\xff",
        "message": AIMessage("hi", id="m"),
        "nul\0": "\0 and \ud800",
        "long": 10**400,
        1: float("nan"),
    }

    store.put(("a",), "k", value)

    found = store.get(("a",), "k").value
    assert found["id"] == "00000000-0000-0000-0000-000000000007"
    assert found["at"] == "2026-01-02T00:00:00+00:00"
    assert (found["colour"], found["raw"]) == ("red", "AP8=")
    assert found["message"]["content"] == "hi"
    assert found["nul\ufffd"] == "\ufffd and \ufffd"
    assert found["long"] == 10**400
    assert found["1"] is None


def test_keys_that_are_no_text_become_text(store: Caller) -> None:
    store.put(("a",), 5, {"x": 1})
    store.put(("a",), "\0 \ud800", {"x": 2})

    assert store.get(("a",), 5).value == {"x": 1}
    assert store.get(("a",), "\0 \ud800").key == "\ufffd \ufffd"


@pytest.mark.parametrize(
    "namespace", [(), ("",), ("a.b",), ("a", ""), ("langgraph", "x"), (1,), ("\0",)]
)
def test_put_refuses_a_namespace(store: Caller, namespace: Any) -> None:
    with pytest.raises(InvalidNamespaceError):
        store.put(namespace, "k", {})
    with pytest.raises(InvalidNamespaceError):
        store.batch([PutOp(namespace, "k", {})])


@pytest.mark.parametrize(
    "op",
    [
        GetOp(("a.b",), "k"),
        PutOp(("a.b",), "k", None),
        SearchOp(("",)),
        ListNamespacesOp((MatchCondition("suffix", ("a.b",)),)),
        PutOp(("a",), "k" * MAX_PLACE_BYTES, {}),
        PutOp(("a" * MAX_PLACE_BYTES,), "k", {}),
        PutOp(("a",), "k", {}, ttl=-1),
        PutOp(("a",), "k", ["no", "dictionary"]),  # type: ignore[arg-type]
        PutOp(("a",), "k", {}, index=True),  # type: ignore[arg-type]
        PutOp(("a",), "k", {}, index=[1]),  # type: ignore[list-item]
        SearchOp(("a",), {"n": {"$in": [1]}}),
        SearchOp(("a",), {str(n): n for n in range(MAX_CONDITIONS + 1)}),
        SearchOp(("a",), limit=-1),
        SearchOp(("a",), offset=2**40),
        ListNamespacesOp(limit=-1),
        ListNamespacesOp(max_depth=0),
        ListNamespacesOp(max_depth=-1),
    ],
)
def test_batch_refuses_what_the_methods_refuse(store: Caller, op: Any) -> None:
    with pytest.raises(ValueError, match=r".+"):
        store.batch([op])


def test_the_longest_namespace_and_key_are_stored(store: Caller) -> None:
    # Random, so that Postgres can't compress it.
    letters = "".join(chr(0x4E00 + i * 7919 % 20_000) for i in range(MAX_PLACE_BYTES))
    size = (MAX_PLACE_BYTES - len("alice")) // 6
    namespace, key = (letters[:size],), letters[-size:]

    store.put(namespace, key, {"x": 1})

    assert store.get(namespace, key).value == {"x": 1}


def test_owners_never_see_each_other(make_caller: Callable[[str], Caller]) -> None:
    alice, bob = make_caller("alice"), make_caller("bob")
    alice.put(("a",), "k", {"of": "alice"})
    bob.put(("a",), "k", {"of": "bob"})
    bob.put(("b",), "k", {})

    bob.delete(("a",), "k")

    assert alice.get(("a",), "k").value == {"of": "alice"}
    assert alice.get(("b",), "k") is None
    assert alice.keys() == ["k"]
    assert alice.namespaces() == ["a"]
    assert bob.namespaces() == ["b"]


# --- Search -------------------------------------------------------------------------
def test_search_finds_the_newest_change_first(store: Caller) -> None:
    for key in ("one", "two", "three"):
        store.put(("a", key), key, {})
    store.put(("a", "one"), "one", {"again": True})

    found = store.search(("a",))

    assert [item.key for item in found] == ["one", "three", "two"]
    assert {type(item) for item in found} == {SearchItem}
    assert {item.score for item in found} == {None}


def test_search_pages(store: Caller) -> None:
    store.batch([PutOp(("a",), f"{n:02}", {"n": n}) for n in range(15)])

    whole = store.keys("a", limit=100)
    assert sorted(whole) == [f"{n:02}" for n in range(15)]
    assert store.keys("a") == whole[:10]
    assert store.keys("a", limit=4, offset=9) == whole[9:13]
    assert store.keys("a", limit=4, offset=15) == []


def test_search_below_a_prefix_of_whole_labels(store: Caller) -> None:
    for path in ("a", "a.b", "a.b.c", "ab", "a b", "a/b", "b"):
        store.put(tuple(path.split(".")), path, {})

    assert set(store.keys("a")) == {"a", "a.b", "a.b.c"}
    assert set(store.keys("a", "b")) == {"a.b", "a.b.c"}
    assert set(store.keys()) == {"a", "a.b", "a.b.c", "ab", "a b", "a/b", "b"}
    assert store.keys("%") == store.keys("_") == store.keys("*") == []


def test_search_filters(store: Caller) -> None:
    store.put(("d",), "a", {"kind": "report", "score": 5, "open": True})
    store.put(("d",), "b", {"kind": "report", "score": 15.5})
    store.put(("d",), "c", {"kind": "note", "score": "high"})
    store.put(("d",), "d", {})

    def found(**wanted: Any) -> set[str]:
        return set(store.keys("d", filter=wanted))

    assert found(kind="report") == {"a", "b"}
    assert found(kind="report", open=True) == {"a"}
    assert found(score={"$gt": 4.99}) == {"a", "b"}
    assert found(score={"$gte": 5, "$lt": 15.5}) == {"a"}
    assert found(score={"$lte": "z"}) == {"c"}
    assert found(kind={"$ne": "report"}) == {"c"}
    assert found(kind={"$eq": "note"}) == {"c"}


def test_a_filter_names_keys_as_they_are_kept(store: Caller) -> None:
    store.put(("d",), "a", {"nul\0": "\0", 1: "one"})

    assert store.keys("d", filter={"nul\0": "\0"}) == ["a"]
    assert store.keys("d", filter={1: "one"}) == ["a"]


def test_a_query_without_an_index_is_an_ordinary_search(store: Caller) -> None:
    store.put(("a",), "k", {"text": "tea"}, index=["text"])

    [item] = store.search(("a",), query="coffee")

    assert (item.key, item.score) == ("k", None)


# --- Namespaces ---------------------------------------------------------------------
def test_list_namespaces(store: Caller) -> None:
    for path in ("a.b.c", "a.b.d.e", "a.b.d.i", "a.b.f", "a.c.f", "x"):
        store.put(tuple(path.split(".")), "k", {})

    assert store.namespaces(prefix=("a", "b"), max_depth=3) == [
        *("a.b.c", "a.b.d", "a.b.f")
    ]
    assert store.namespaces(suffix=("f",)) == ["a.b.f", "a.c.f"]
    assert store.namespaces(prefix=("a",), suffix=("*", "f")) == ["a.b.f", "a.c.f"]
    assert store.namespaces(prefix=("*", "c")) == ["a.c.f"]
    assert store.namespaces(max_depth=1) == ["a", "x"]
    assert store.namespaces(limit=2, offset=4) == ["a.c.f", "x"]
    assert store.list_namespaces(limit=1) == [("a", "b", "c")]


def test_all_match_conditions_must_hold(store: Caller) -> None:
    for path in ("a.x.c", "a.y.c", "b.x.c"):
        store.put(tuple(path.split(".")), "k", {})
    conditions = (
        MatchCondition("prefix", ("a",)),
        MatchCondition("prefix", ("*", "x")),
        MatchCondition("suffix", ("c",)),
    )

    assert store.batch([ListNamespacesOp(conditions)]) == [[("a", "x", "c")]]


def test_a_pattern_of_many_labels_is_answered_at_once(store: Caller) -> None:
    store.put(("a",), "k", {})

    # Far more labels than Postgres could plan as separate conditions.
    assert store.namespaces(prefix=("a",) * 100_000) == []
    assert store.namespaces(suffix=("*",) * 100_000) == []


# --- Batches ------------------------------------------------------------------------
def test_a_batch_answers_in_its_order(store: Caller) -> None:
    store.put(("a",), "old", {"x": 1})

    results = store.batch(
        [
            PutOp(("a",), "new", {"x": 2}),
            GetOp(("a",), "old"),
            SearchOp(("a",)),
            ListNamespacesOp(),
            GetOp(("a",), "new"),
            PutOp(("a",), "old", None),
            GetOp(("a",), "old"),
        ]
    )

    put, old, found, namespaces, new, deleted, again = results
    assert put is deleted is None
    assert old.value == again.value == {"x": 1}
    assert [item.key for item in found] == ["old"]
    assert namespaces == [("a",)]
    assert new is None  # Reads come before writes.
    assert store.keys("a") == ["new"]


def test_the_last_write_of_a_key_in_a_batch_counts(store: Caller) -> None:
    store.batch(
        [
            PutOp(("a",), "k", {"n": 1}),
            PutOp(("a",), "k", {"n": 2}),
            PutOp(("a",), "gone", {}),
            PutOp(("a",), "gone", None),
            PutOp(("a",), "back", None),
            PutOp(("a",), "back", {}),
        ]
    )

    assert store.get(("a",), "k").value == {"n": 2}
    assert set(store.keys("a")) == {"k", "back"}


def test_every_owner_has_an_item(store: Caller) -> None:
    store.put(("a",), "k", {"n": 1})

    one, other = store.batch([GetOp(("a",), "k"), GetOp(("a",), "k")])
    one.value["n"] = 2

    assert other.value == {"n": 1}


def test_an_empty_batch(store: Caller) -> None:
    assert store.batch([]) == []


# --- The same as the API --------------------------------------------------------------
def test_graphs_and_clients_see_the_same_items(store: Caller, alice: Client) -> None:
    store.put(("a", "b"), "k", {"x": 1})

    assert alice.item("a.b", "k").json()["value"] == {"x": 1}
    assert alice.keys("a", filter={"x": 1}) == ["k"]
    assert alice.namespaces() == [["a", "b"]]
