"""Items put, got and deleted one by one."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from spool.store.models import StoreItem
from spool.store.namespaces import MAX_PLACE_BYTES
from spool.store.tests.expiring import end_of_items, end_sooner, expire

pytestmark = pytest.mark.django_db


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
        "metadata": {},
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


@pytest.mark.parametrize("ttl", [1e-3, 1e9, 1e300])
def test_an_item_lives_for_any_number_of_minutes(alice: Any, ttl: float) -> None:
    body = {"namespace": ["a"], "key": "k", "value": {}, "ttl": ttl}

    assert alice.call("put", "/store/items", body).status_code == 204
