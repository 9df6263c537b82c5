from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest

from spool.store.statements import MAX_CONDITIONS
from spool.store.tests.expiring import end_of_items, end_sooner

pytestmark = pytest.mark.django_db


# --- Search -------------------------------------------------------------------------
def test_search_answers_with_items_newest_change_first(alice: Any) -> None:
    for key in ("one", "two", "three"):
        alice.put_item(["a"], key, {"key": key})
    alice.put_item(["a"], "one", {"key": "one"})

    items = alice.search("a")

    assert [item["key"] for item in items] == ["one", "three", "two"]
    assert items[0].keys() == {
        *("namespace", "key", "value", "metadata", "created_at", "updated_at", "score")
    }
    assert datetime.fromisoformat(items[0]["updated_at"]).utcoffset() == timedelta(0)
    assert items[0]["score"] is None


def test_search_pages(alice: Any) -> None:
    for number in range(12):
        alice.put_item(["a"], f"{number:02}", {})

    assert len(alice.search("a")) == 10
    assert alice.keys("a", limit=2, offset=9) == ["02", "01"]
    assert alice.keys("a", offset=100) == []


@pytest.mark.parametrize("prefix", [[], None])
def test_search_without_a_prefix_finds_everything(alice: Any, prefix: Any) -> None:
    alice.put_item(["a"], "k", {})

    body = {} if prefix is None else {"namespace_prefix": prefix}
    explicit = alice.call("post", "/store/items/search", {"namespace_prefix": prefix})
    implicit = alice.call("post", "/store/items/search", body)

    assert explicit.json() == implicit.json()
    assert [item["key"] for item in explicit.json()["items"]] == ["k"]


@pytest.mark.parametrize(
    ("prefix", "found"),
    [
        (["users"], {"at", "below", "deep"}),
        (["users", "u1"], {"below", "deep"}),
        (["user"], set()),
        (["user_"], {"underscore"}),
        (["user%"], {"percent"}),
        (["%"], set()),
        (["users/"], {"slash"}),
        (["users "], {"space"}),
        (["*"], set()),
        (["Ünï"], {"unicode"}),
    ],
)
def test_search_matches_whole_labels(
    alice: Any, prefix: list[str], found: set[str]
) -> None:
    for namespace, key in (
        (["users"], "at"),
        (["users", "u1"], "below"),
        (["users", "u1", "x"], "deep"),
        (["user_"], "underscore"),
        (["user%"], "percent"),
        (["users/"], "slash"),
        (["users "], "space"),
        (["Ünï"], "unicode"),
    ):
        alice.put_item(namespace, key, {})

    assert set(alice.keys(*prefix)) == found


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ({}, {"a", "b", "c", "d"}),
        ({"n": 5}, {"a"}),
        ({"n": "5"}, {"c"}),
        ({"n": {"$eq": 5}}, {"a"}),
        ({"n": {"$ne": 5}}, {"b", "c"}),
        ({"n": {"$gt": 5}}, {"b"}),
        ({"n": {"$gte": 5}}, {"a", "b"}),
        ({"n": {"$lt": 10}}, {"a"}),
        ({"n": {"$lte": 10.0}}, {"a", "b"}),
        ({"n": {"$gt": 5, "$lt": 10}}, set()),
        ({"n": {"$gt": "4"}}, {"c"}),
        ({"n": 5, "kind": "x"}, {"a"}),
        ({"n": 5, "kind": "y"}, set()),
        ({"kind": {"$ne": None}}, {"a", "b"}),
        ({"none": None}, {"d"}),
        ({"at": {"x": 1, "y": [1, 2]}}, {"b"}),
        ({"at": {"x": 1}}, set()),
        ({"at.x": 1}, set()),
        ({"tags": ["p", "q"]}, {"c"}),
        ({"tags": "p"}, set()),
        ({"on": True}, {"d"}),
        ({"on": 1}, set()),
        ({"wei%rd 'key'": "o'hara"}, {"d"}),
    ],
)
def test_search_filters_on_values(alice: Any, given: Any, found: set[str]) -> None:
    alice.put_item(["f"], "a", {"n": 5, "kind": "x"})
    alice.put_item(["f"], "b", {"n": 10, "kind": "y", "at": {"y": [1, 2], "x": 1}})
    alice.put_item(["f"], "c", {"n": "5", "tags": ["p", "q"]})
    alice.put_item(["f"], "d", {"on": True, "none": None, "wei%rd 'key'": "o'hara"})

    assert set(alice.keys("f", filter=given)) == found


@pytest.mark.parametrize(
    ("wrong", "status", "detail"),
    [
        ({"filter": {"n": {"$in": [1]}}}, 400, "Unsupported operator: $in"),
        ({"filter": {"n": {"$gt": 1, "x": 1}}}, 400, "Unsupported operator: x"),
        ({"filter": []}, 422, "filter: must be an object"),
        (
            {"filter": {str(n): n for n in range(MAX_CONDITIONS + 1)}},
            422,
            "more than 100 conditions",
        ),
        ({"limit": 0}, 422, "limit: "),
        ({"limit": 1001}, 422, "limit: "),
        ({"limit": "many"}, 422, "limit: "),
        ({"offset": -1}, 422, "offset: "),
        ({"offset": 10**30}, 422, "offset: "),
        ({"query": 1}, 422, "query: "),
        ({"refresh_ttl": "perhaps"}, 422, "refresh_ttl: "),
        ({"namespace_prefix": "a"}, 422, "namespace_prefix: "),
    ],
)
def test_search_names_what_is_wrong(
    alice: Any, wrong: dict[str, Any], status: int, detail: str
) -> None:
    response = alice.call("post", "/store/items/search", wrong)

    assert response.status_code == status
    assert detail in response.json()["detail"]


def test_search_refuses_a_bad_label(alice: Any) -> None:
    body = {"namespace_prefix": ["a.b"]}

    response = alice.call("post", "/store/items/search", body)

    assert response.status_code == 422
    assert response["Content-Type"].startswith("text/plain")


def test_search_hides_other_owners_items(alice: Any, bob: Any) -> None:
    alice.put_item(["a"], "k", {"n": 1})

    assert bob.search() == []
    assert bob.search("a", filter={"n": 1}) == []


@pytest.mark.parametrize("refresh", [True, False])
def test_search_refreshes_what_it_found(alice: Any, refresh: bool) -> None:
    alice.put_item(["a"], "found", {}, ttl=5)
    alice.put_item(["b"], "not", {}, ttl=5)
    before = end_sooner()

    alice.search("a", refresh_ttl=refresh)

    assert (end_of_items()["found"] > before["found"]) is refresh
    assert end_of_items()["not"] == before["not"]


# --- Namespaces ---------------------------------------------------------------------
@pytest.mark.parametrize(
    ("body", "found"),
    [
        ({}, ["a", "a b.c", "a.b", "a.b.c", "a.b.d.e", "x.b.c"]),
        ({"prefix": ["a"]}, ["a", "a.b", "a.b.c", "a.b.d.e"]),
        ({"prefix": ["a", "*", "c"]}, ["a.b.c"]),
        ({"prefix": ["*", "b"]}, ["a.b", "a.b.c", "a.b.d.e", "x.b.c"]),
        ({"suffix": ["c"]}, ["a b.c", "a.b.c", "x.b.c"]),
        ({"suffix": ["b", "*"]}, ["a.b.c", "x.b.c"]),
        ({"suffix": ["d", "e"]}, ["a.b.d.e"]),
        ({"prefix": ["a"], "suffix": ["c"]}, ["a.b.c"]),
        ({"max_depth": 1}, ["a", "a b", "x"]),
        ({"max_depth": 2}, ["a", "a b.c", "a.b", "x.b"]),
        ({"max_depth": 3, "prefix": ["a"]}, ["a", "a.b", "a.b.c", "a.b.d"]),
        ({"max_depth": 2, "suffix": ["e"]}, ["a.b"]),
        ({"max_depth": 9}, ["a", "a b.c", "a.b", "a.b.c", "a.b.d.e", "x.b.c"]),
        ({"limit": 2}, ["a", "a b.c"]),
        ({"limit": 2, "offset": 3}, ["a.b.c", "a.b.d.e"]),
        ({"limit": 2, "offset": 1, "max_depth": 1}, ["a b", "x"]),
        ({"prefix": ["%"]}, []),
        ({"prefix": None, "suffix": None, "max_depth": None, "limit": 1}, ["a"]),
    ],
)
def test_namespaces(alice: Any, body: dict[str, Any], found: list[str]) -> None:
    for path in ("x.b.c", "a.b.d.e", "a", "a.b", "a b.c", "a.b.c"):
        alice.put_item(path.split("."), "1", {})
        alice.put_item(path.split("."), "2", {})

    assert [".".join(labels) for labels in alice.namespaces(**body)] == found


@pytest.mark.parametrize(
    ("wrong", "detail"),
    [
        ({"prefix": "a"}, "prefix: "),
        ({"suffix": [1]}, "suffix: "),
        ({"max_depth": 0}, "max_depth: "),
        ({"limit": 0}, "limit: "),
        ({"offset": -1}, "offset: "),
    ],
)
def test_namespaces_names_what_is_wrong(
    alice: Any, wrong: dict[str, Any], detail: str
) -> None:
    response = alice.call("post", "/store/namespaces", wrong)

    assert response.status_code == 422
    assert response.json()["detail"].startswith(detail)


def test_namespaces_refuses_a_bad_label(alice: Any) -> None:
    response = alice.call("post", "/store/namespaces", {"suffix": [""]})

    assert response.status_code == 422
    assert response["Content-Type"].startswith("text/plain")


def test_namespaces_hides_other_owners(alice: Any, bob: Any) -> None:
    alice.put_item(["a"], "k", {})

    assert bob.namespaces() == []
