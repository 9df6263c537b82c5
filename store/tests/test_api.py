from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.db.models import F
from django.test.utils import CaptureQueriesContext

from access.policy import Scope
from store.models import StoreItem
from store.namespaces import MAX_PLACE_BYTES
from store.statements import MAX_CONDITIONS

pytestmark = pytest.mark.django_db

Rewrite = Callable[[Callable[[Any], Any]], None]


@pytest.fixture
def rewrite(monkeypatch: pytest.MonkeyPatch) -> Rewrite:
    """A policy that puts another namespace in the place of the given one."""

    def install(change: Callable[[Any], Any]) -> None:
        def authorize(request: Any, event: str, value: Any = None) -> Scope:
            value["namespace"] = change(value["namespace"])
            return Scope()

        monkeypatch.setattr("access.views.authorize", authorize)

    return install


def end_sooner() -> Any:
    """Take three minutes from every item; returns when each ends now."""
    StoreItem.objects.update(expires_at=F("expires_at") - timedelta(minutes=3))
    return end_of_items()


def end_of_items() -> Any:
    return dict(StoreItem.objects.values_list("key", "expires_at"))


def expire(**which: Any) -> None:
    """Let items have reached the end of their time a moment ago."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT now() - interval '1 second'")
        StoreItem.objects.filter(**which).update(expires_at=cursor.fetchone()[0])


# --- Put ----------------------------------------------------------------------------
def test_put_stores_an_item(alice: Any) -> None:
    response = alice.put_item(["users", "u1"], "tea", {"likes": ["tea"], "n": 1.5})

    assert response.content == b""
    item = StoreItem.objects.get()
    assert (item.owner, item.namespace, item.key) == ("alice", ["users", "u1"], "tea")
    assert item.value == {"likes": ["tea"], "n": 1.5}
    assert (item.ttl_minutes, item.expires_at) == (None, None)


def test_put_again_replaces_the_value_and_keeps_the_creation(alice: Any) -> None:
    alice.put_item(["a"], "k", {"old": 1})
    before = StoreItem.objects.get()

    alice.put_item(["a"], "k", {"new": 2})

    after = StoreItem.objects.get()
    assert after.value == {"new": 2}
    assert after.created_at == before.created_at
    assert after.updated_at > before.updated_at


def test_put_over_an_expired_item_makes_a_new_one(alice: Any) -> None:
    alice.put_item(["a"], "k", {}, ttl=5)
    long_ago = StoreItem.objects.get().created_at - timedelta(days=3)
    StoreItem.objects.update(created_at=long_ago)
    expire(key="k")

    alice.put_item(["a"], "k", {"new": 1})

    assert StoreItem.objects.get().created_at > long_ago + timedelta(days=1)
    assert alice.item("a", "k").json()["value"] == {"new": 1}


def test_put_costs_one_statement(alice: Any) -> None:
    with CaptureQueriesContext(connection) as statements:
        alice.put_item(["a"], "k", {})

    assert len(statements) == 1


@pytest.mark.parametrize(
    ("wrong", "status", "detail"),
    [
        ({"namespace": []}, 400, "Namespace cannot be empty"),
        ({"namespace": ["langgraph", "x"]}, 400, "langgraph"),
        ({"namespace": None}, 422, "namespace: "),
        ({"namespace": "a"}, 422, "namespace: must be a list of strings"),
        ({"namespace": ["a", 1]}, 422, "namespace: must be a list of strings"),
        ({"key": None}, 422, "key: "),
        ({"key": 5}, 422, "key: must be a string"),
        ({"key": "k" * MAX_PLACE_BYTES}, 422, "too long"),
        ({"namespace": ["é" * MAX_PLACE_BYTES]}, 422, "too long"),
        ({"value": None}, 422, "value: "),
        ({"value": [1]}, 422, "value: must be an object"),
        ({"value": "text"}, 422, "value: must be an object"),
        ({"index": True}, 422, "index: "),
        ({"index": "title"}, 422, "index: "),
        ({"index": [1]}, 422, "index: "),
        ({"ttl": 0}, 422, "ttl: must be a positive number"),
        ({"ttl": -1}, 422, "ttl: must be a positive number"),
        ({"ttl": 1e300}, 422, "ttl: must be a positive number"),
        ({"ttl": True}, 422, "ttl: must be a positive number"),
        ({"ttl": "soon"}, 422, "ttl: must be a positive number"),
    ],
)
def test_put_names_what_is_wrong(
    alice: Any, wrong: dict[str, Any], status: int, detail: str
) -> None:
    body = {"namespace": ["a"], "key": "k", "value": {}, **wrong}

    response = alice.call("put", "/store/items", body)

    assert response.status_code == status
    assert detail in response.json()["detail"]
    assert not StoreItem.objects.exists()


@pytest.mark.parametrize("label", ["", "a.b", "."])
def test_put_answers_a_bad_label_in_plain_text(alice: Any, label: str) -> None:
    body = {"namespace": ["a", label], "key": "k", "value": {}}

    response = alice.call("put", "/store/items", body)

    assert response.status_code == 422
    assert response["Content-Type"].startswith("text/plain")
    assert b"label" in response.content
    assert not StoreItem.objects.exists()


@pytest.mark.parametrize("body", [{}, [], "text", 1, None])
def test_put_needs_an_object_with_its_required_fields(alice: Any, body: Any) -> None:
    assert alice.call("put", "/store/items", body).status_code == 422


@pytest.mark.parametrize(
    "key", ["", " ", " k ", "100%", "a_b", "a.b/c", "ключ", "👩‍🚀", "k" * 2000]
)
def test_put_accepts_any_key(alice: Any, key: str) -> None:
    alice.put_item(["a"], key, {"x": 1})

    assert alice.item("a", key).json()["key"] == key


def test_put_cleans_what_postgres_cannot_hold(alice: Any) -> None:
    alice.put_item(["a"], "nul\0", {"nul\0": "\0", "half": "\ud800"})

    item = alice.item("a", "nul\0").json()
    assert item["key"] == "nul\ufffd"
    assert item["value"] == {"nul\ufffd": "\ufffd", "half": "\ufffd"}


def test_a_number_that_no_double_holds_is_kept_to_the_digit(alice: Any) -> None:
    alice.put_item(["a"], "k", {"n": 10**400})

    assert alice.item("a", "k").json()["value"] == {"n": 10**400}
    assert alice.keys("a", filter={"n": 10**400}) == ["k"]


def test_put_leaves_other_owners_items_alone(alice: Any, bob: Any) -> None:
    alice.put_item(["a"], "k", {"of": "alice"})

    bob.put_item(["a"], "k", {"of": "bob"})

    assert alice.item("a", "k").json()["value"] == {"of": "alice"}
    assert bob.item("a", "k").json()["value"] == {"of": "bob"}


# --- Get ----------------------------------------------------------------------------
def test_get_answers_with_the_item(alice: Any) -> None:
    alice.put_item(["users", "u1"], "k", {"a": {"b": [1, None]}})

    response = alice.item("users.u1", "k")

    item = StoreItem.objects.get()
    assert response.status_code == 200
    assert response.json() == {
        "namespace": ["users", "u1"],
        "key": "k",
        "value": {"a": {"b": [1, None]}},
        "created_at": item.created_at.isoformat(timespec="microseconds"),
        "updated_at": item.updated_at.isoformat(timespec="microseconds"),
    }


@pytest.mark.parametrize("namespace", ["a", "a.b.c", "", "b"])
def test_get_answers_null_for_what_is_not_there(alice: Any, namespace: str) -> None:
    alice.put_item(["a", "b"], "k", {})

    response = alice.item(namespace, "k")

    assert response.status_code == 200
    assert response.content == b"null"


def test_get_needs_a_key(alice: Any) -> None:
    response = alice.get("/store/items", {"namespace": "a"})

    assert response.status_code == 400
    assert response.json() == {"error": "Key is required"}


def test_get_refuses_what_is_malformed(alice: Any) -> None:
    bad_label = alice.item("a..b", "k")
    bad_boolean = alice.item("a", "k", refresh_ttl="perhaps")

    assert bad_label.status_code == 422
    assert bad_label["Content-Type"].startswith("text/plain")
    assert bad_boolean.status_code == 422
    assert bad_boolean.json()["detail"].startswith("refresh_ttl: ")


def test_get_takes_the_last_of_several_namespaces(alice: Any) -> None:
    alice.put_item(["b"], "k", {})

    response = alice.get("/store/items?namespace=a&namespace=b&key=k")

    assert response.json()["namespace"] == ["b"]


def test_get_hides_other_owners_items(alice: Any, bob: Any) -> None:
    alice.put_item(["a"], "k", {})

    assert bob.item("a", "k").json() is None


def test_get_hides_what_has_expired(alice: Any) -> None:
    alice.put_item(["a"], "k", {}, ttl=5)
    expire(key="k")

    assert alice.item("a", "k").json() is None
    assert alice.keys() == []
    assert alice.namespaces() == []


@pytest.mark.parametrize(
    ("query", "is_refreshed"),
    [
        ({}, True),
        ({"refresh_ttl": "true"}, True),
        ({"refresh_ttl": "1"}, True),
        ({"refresh_ttl": "false"}, False),
        ({"refresh_ttl": "0"}, False),
    ],
)
def test_get_refreshes_unless_told_otherwise(
    alice: Any, query: dict[str, str], is_refreshed: bool
) -> None:
    alice.put_item(["a"], "k", {}, ttl=5)
    before = end_sooner()

    alice.item("a", "k", **query)

    assert (end_of_items()["k"] > before["k"]) is is_refreshed


def test_get_writes_nothing_for_an_item_that_stays(alice: Any) -> None:
    alice.put_item(["a"], "k", {})

    with CaptureQueriesContext(connection) as statements:
        alice.item("a", "k")

    assert len(statements) == 1


# --- Delete -------------------------------------------------------------------------
def test_delete(alice: Any) -> None:
    alice.put_item(["a"], "k", {})
    alice.put_item(["a"], "other", {})
    body = {"namespace": ["a"], "key": "k"}

    first = alice.call("delete", "/store/items", body)
    again = alice.call("delete", "/store/items", body)

    assert (first.status_code, first.content) == (204, b"")
    assert again.status_code == 204
    assert alice.keys("a") == ["other"]


@pytest.mark.parametrize(
    "body", [{}, {"key": "k"}, {"namespace": ["a"]}, {"namespace": "a", "key": "k"}]
)
def test_delete_refuses_what_is_malformed(alice: Any, body: Any) -> None:
    assert alice.call("delete", "/store/items", body).status_code == 422


def test_delete_refuses_a_bad_label(alice: Any) -> None:
    body = {"namespace": ["a.b"], "key": "k"}

    response = alice.call("delete", "/store/items", body)

    assert response.status_code == 422
    assert response["Content-Type"].startswith("text/plain")


def test_delete_leaves_other_owners_items_alone(alice: Any, bob: Any) -> None:
    alice.put_item(["a"], "k", {})

    response = bob.call("delete", "/store/items", {"namespace": ["a"], "key": "k"})

    assert response.status_code == 204
    assert alice.keys("a") == ["k"]


# --- Search -------------------------------------------------------------------------
def test_search_answers_with_items_newest_change_first(alice: Any) -> None:
    for key in ("one", "two", "three"):
        alice.put_item(["a"], key, {"key": key})
    alice.put_item(["a"], "one", {"key": "one"})

    items = alice.search("a")

    assert [item["key"] for item in items] == ["one", "three", "two"]
    assert items[0].keys() == {
        *("namespace", "key", "value", "created_at", "updated_at", "score")
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


# --- The policy ---------------------------------------------------------------------
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
