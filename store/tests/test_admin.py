from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.admin.models import DELETION, LogEntry
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.db.models.functions import Now
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from spool.console.markup import MAX_CHARACTERS
from spool.store.models import StoreItem

pytestmark = pytest.mark.django_db

LIST = "/admin/store/storeitem/"


@pytest.fixture
def items() -> dict[str, StoreItem]:
    made = [
        ("alice", "users", "tea", None),
        ("alice", "users.u1", "coffee", timedelta(hours=1)),
        ("bob", "users.u1", "cake", timedelta(hours=-1)),
        ("bob", "users2", "users", None),
    ]
    return {
        key: StoreItem.objects.create(
            owner=owner,
            path=path,
            key=key,
            value={"<b>": ["ü", 1]},
            expires_at=Now() + lives if lives else None,
        )
        for owner, path, key, lives in made
    }


def page(item: StoreItem) -> str:
    return reverse("admin:store_storeitem_change", args=[item.pk])


def operation(item: StoreItem, name: str) -> str:
    return reverse("admin:store_storeitem_operation", args=[item.pk, name])


def listed(client: Client, **query: str) -> list[Any]:
    response = client.get(LIST, query)
    assert response.status_code == 200
    return [item.key for item in response.context["cl"].result_list]


def test_the_list_is_in_order_of_owner_and_namespace(
    admin_client: Client, items: dict[str, StoreItem]
) -> None:
    assert listed(admin_client) == ["tea", "coffee", "cake", "users"]


@pytest.mark.parametrize(
    ("term", "found"),
    [
        ("alice", ["tea", "coffee"]),
        ("cake", ["cake"]),
        ("users.u1", ["coffee", "cake"]),
        ("users", ["tea", "coffee", "cake", "users"]),
        ("user", []),
        ("%", []),
        (" tea ", ["tea"]),
        ("alice users.u1", ["coffee"]),
        ("users.u1 bob", ["cake"]),
        ("users coffee", ["coffee"]),
        ("alice users coffee", ["coffee"]),
        ("alice cake", []),
    ],
)
def test_search_by_owner_key_or_namespace(
    admin_client: Client, items: dict[str, StoreItem], term: str, found: list[str]
) -> None:
    assert listed(admin_client, q=term) == found


def test_search_for_what_has_spaces(admin_client: Client) -> None:
    StoreItem.objects.create(owner="Al B", path="my notes.u1", key="a k", value={})

    found = [listed(admin_client, q=term) for term in ("Al B", "my notes", "a k")]

    assert found == [["a k"]] * 3


@pytest.mark.parametrize(
    ("expiry", "found"),
    [("stays", ["tea", "users"]), ("ends", ["coffee"]), ("expired", ["cake"])],
)
def test_filter_by_expiry(
    admin_client: Client, items: dict[str, StoreItem], expiry: str, found: list[str]
) -> None:
    assert listed(admin_client, expiry=expiry) == found


def test_an_item_is_shown_and_its_place_not_changed(
    admin_client: Client, items: dict[str, StoreItem]
) -> None:
    shown = admin_client.get(page(items["tea"]))
    changed = admin_client.post(page(items["tea"]), {"key": "other"})
    added = admin_client.get(f"{LIST}add/")

    assert "&quot;&lt;b&gt;&quot;: [" in shown.content.decode()
    assert "ü" in shown.content.decode()
    assert (changed.status_code, added.status_code) == (403, 403)
    items["tea"].refresh_from_db()
    assert items["tea"].key == "tea"


def test_the_metadata_is_changed(
    admin_client: Client, items: dict[str, StoreItem]
) -> None:
    path = operation(items["tea"], "change_metadata")

    wrong = admin_client.post(path, {"metadata": "[1]"}).content.decode()
    admin_client.post(path, {"metadata": '{"a": 1}', "reason": "asked for"})

    assert "must be an object" in wrong
    items["tea"].refresh_from_db()
    assert items["tea"].metadata == {"a": 1}
    entry = LogEntry.objects.get(object_id=items["tea"].pk)
    assert entry.change_message == "metadata changed: asked for"


def test_the_list_never_counts_all_items(
    admin_client: Client, items: dict[str, StoreItem]
) -> None:
    with CaptureQueriesContext(connection) as statements:
        listed(admin_client)

    of_items = [s["sql"] for s in statements if "store_items" in s["sql"]]
    assert len(of_items) == 1
    assert "COUNT" not in of_items[0]


def test_a_value_is_cut_where_it_is_long_and_shown_to_the_digit(
    admin_client: Client,
) -> None:
    value = {"n": 10**400, "text": "x" * MAX_CHARACTERS}
    item = StoreItem.objects.create(path="a", key="k", value=value)

    shown = admin_client.get(page(item)).content.decode()

    assert f"1{'0' * 400}," in shown
    assert "characters in all" in shown


def test_items_are_deleted(admin_client: Client, items: dict[str, StoreItem]) -> None:
    chosen = [items["tea"].pk, items["cake"].pk]
    action = {"action": "delete", "_selected_action": chosen}

    asked = admin_client.post(LIST, action)
    assert StoreItem.objects.count() == 4
    admin_client.post(LIST, {**action, "confirmed": "1", "reason": "old"})

    assert "Delete: 2 store items" in asked.content.decode()
    assert listed(admin_client) == ["coffee", "users"]
    [entry, _] = LogEntry.objects.filter(action_flag=DELETION).order_by("object_id")
    assert (entry.object_repr, entry.change_message) == ("users tea", "deleted: old")


def test_who_may_only_look_deletes_nothing(
    client: Client, items: dict[str, StoreItem]
) -> None:
    user = User.objects.create_user("viewer", is_staff=True)
    user.user_permissions.add(Permission.objects.get(codename="view_storeitem"))
    client.force_login(user)

    shown = client.get(page(items["tea"]))
    deleted = client.post(operation(items["tea"], "delete"))

    assert shown.status_code == 200
    assert deleted.status_code == 403
    assert "/operations/" not in shown.content.decode()
    assert StoreItem.objects.count() == 4
