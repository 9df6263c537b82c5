"""The metadata of items, which clients set in addition to the value."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client as Browser
from django.urls import reverse

from spool.store.models import StoreItem
from spool.store.tests.clients import Client
from spool.store.tests.conftest import MakeStore

pytestmark = pytest.mark.django_db


def metadata_of(client: Client, key: str) -> Any:
    return client.item("a", key).json()["metadata"]


def test_an_item_has_metadata_from_the_start(alice: Client) -> None:
    alice.put_item(["a"], "plain", {})
    alice.put_item(["a"], "told", {}, metadata={"source": "mail", "n": [1]})

    assert metadata_of(alice, "plain") == {}
    assert metadata_of(alice, "told") == {"source": "mail", "n": [1]}
    assert {item["key"]: item["metadata"] for item in alice.search("a")} == {
        "plain": {},
        "told": {"source": "mail", "n": [1]},
    }


def test_a_put_without_metadata_keeps_it_and_an_empty_one_clears_it(
    alice: Client,
) -> None:
    alice.put_item(["a"], "k", {"v": 1}, metadata={"source": "mail"})

    alice.put_item(["a"], "k", {"v": 2})
    kept = metadata_of(alice, "k")
    alice.put_item(["a"], "k", {"v": 3}, metadata={})

    assert kept == {"source": "mail"}
    assert metadata_of(alice, "k") == {}
    assert alice.item("a", "k").json()["value"] == {"v": 3}


@pytest.mark.django_db(transaction=True)
def test_a_put_of_a_graph_keeps_it(alice: Client, make_store: MakeStore) -> None:
    alice.put_item(["a"], "k", {"v": 1}, metadata={"source": "mail"})

    make_store("alice").put(("a",), "k", {"v": 2})

    assert metadata_of(alice, "k") == {"source": "mail"}


def test_an_expired_item_hands_nothing_on(alice: Client) -> None:
    alice.put_item(["a"], "k", {}, metadata={"source": "mail"}, ttl=1)
    StoreItem.objects.update(expires_at="2020-01-01T00:00:00Z")

    alice.put_item(["a"], "k", {})

    assert metadata_of(alice, "k") == {}


@pytest.mark.parametrize("metadata", [[], "x", 1, None])
def test_metadata_that_is_no_object_is_refused(alice: Client, metadata: Any) -> None:
    body = {"namespace": ["a"], "key": "k", "value": {}, "metadata": metadata}

    response = alice.call("put", "/store/items", body)

    assert response.status_code == 422
    assert response.json()["detail"].startswith("metadata: ")
    assert not StoreItem.objects.exists()


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ({"source": "mail"}, ["both", "mail"]),
        ({"tags": {"a": 1}}, ["both"]),
        ({"source": "post"}, []),
        ({"source": "%"}, []),
        ({}, ["both", "mail", "none"]),
        (None, ["both", "mail", "none"]),
    ],
)
def test_a_search_asks_what_metadata_contains(
    alice: Client, wanted: Any, found: list[str]
) -> None:
    alice.put_item(["a"], "mail", {}, metadata={"source": "mail"})
    both = {"source": "mail", "tags": {"a": 1, "b": 2}}
    alice.put_item(["a"], "both", {}, metadata=both)
    alice.put_item(["a"], "none", {})

    assert sorted(alice.keys("a", metadata=wanted)) == found


def test_an_owner_in_it_means_nothing(alice: Client, bob: Client) -> None:
    alice.put_item(["a"], "k", {}, metadata={"owner": "bob"})

    assert metadata_of(alice, "k") == {"owner": "bob"}
    assert bob.item("a", "k").json() is None
    assert bob.keys("a", metadata={"owner": "bob"}) == []


def test_an_operator_edits_it_and_nothing_else(
    admin_client: Browser, alice: Client
) -> None:
    alice.put_item(["a"], "k", {"v": 1}, metadata={"source": "mail"})
    item = StoreItem.objects.get()

    page = reverse("admin:store_storeitem_change", args=[item.pk])
    metadata = '{"source": "operator"}'
    admin_client.post(
        page.replace("/change/", "/operations/change_metadata/"),
        {"metadata": metadata, "value": '{"v": 2}', "owner": "bob", "reason": "spam"},
    )

    assert metadata_of(alice, "k") == {"source": "operator"}
    assert alice.item("a", "k").json()["value"] == {"v": 1}
