from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.db.models.functions import Now
from django.test import Client
from django.test.utils import CaptureQueriesContext

from spool.console import store_page, store_tree
from spool.console.store_tree import Page, children, items, owners, with_text
from spool.store.models import StoreItem

pytestmark = pytest.mark.django_db

TREE = "/admin/store/storeitem/tree/"


def put(owner: str, path: str, *keys: str, value: Any = None) -> None:
    for key in keys:
        StoreItem.objects.create(owner=owner, path=path, key=key, value=value or {})


@pytest.fixture(autouse=True)
def stored(db: None) -> None:
    put("alice", "users", "u")
    put("alice", "users-old.x", "a")
    put("alice", "users.u1", "tea", "cake", value={"likes": "100 % Tea_"})
    put("alice", "users.u1.deep", "d", value={"likes": "coffee"})
    put("alice", "users.u2", "tea")
    put("", "notes.a", "n")


def names(page: Page[Any]) -> list[tuple[str, int]]:
    return [(branch.label, branch.count) for branch in page.rows]


def test_a_tree_of_owners_namespaces_and_items() -> None:
    assert [(one.name, one.count) for one in owners().rows] == [("", 1), ("alice", 6)]
    assert names(children("alice", "")) == [("users", 5), ("users-old", 1)]
    assert names(children("alice", "users")) == [("u1", 3), ("u2", 1)]
    assert names(children("alice", "users.u2")) == []
    assert [item.key for item in items("alice", "users.u1").rows] == ["cake", "tea"]


def test_counts_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_tree, "MAX_COUNTED", 2)

    [users, old] = children("alice", "").rows

    assert (users.count, users.has_more) == (2, True)
    assert (old.count, old.has_more) == (1, False)


def test_pages_have_each_row_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_tree, "MAX_BRANCHES", 1)
    monkeypatch.setattr(store_tree, "MAX_ITEMS", 1)

    def all_pages(read: Callable[[Any], Page[Any]], start: Any) -> list[Any]:
        page = read(start)
        rows: list[Any] = []
        while page.more is not None:
            rows += page.rows
            page = read(page.more)
        return [*rows, *page.rows]

    assert [b.name for b in all_pages(owners, "")] == ["", "alice"]
    of_users = all_pages(lambda start: children("alice", "users", start), "")
    assert [b.label for b in of_users] == ["u1", "u2"]
    top = all_pages(lambda start: children("alice", "", start), "")
    assert [b.label for b in top] == ["users", "users-old"]
    keys = all_pages(lambda after: items("alice", "users.u1", after), None)
    assert [item.key for item in keys] == ["cake", "tea"]


@pytest.mark.parametrize(
    ("path", "text", "found"),
    [
        ("", "TEA", ["users.u1 cake", "users.u1 tea", "users.u2 tea"]),
        ("users.u1", "coffee", ["users.u1.deep d"]),
        ("users", "% tea_", ["users.u1 cake", "users.u1 tea"]),
        ("users", "a", ["users.u1 cake", "users.u1 tea", "users.u2 tea"]),
        ("users.u2", "coffee", []),
    ],
)
def test_a_search_for_text(path: str, text: str, found: list[str]) -> None:
    page = with_text("alice", path, text, None)

    assert [str(one.item) for one in page.rows] == found
    assert page.more is None


def test_a_search_goes_on_where_it_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_tree, "MAX_SEARCHED", 2)

    found, place, pages = [], None, 0
    while pages == 0 or place:
        page = with_text("alice", "users", "tea", place)
        found += [str(one.item) for one in page.rows]
        place, pages = page.more, pages + 1

    assert found == ["users.u1 cake", "users.u1 tea", "users.u2 tea"]
    assert pages >= 3


def test_the_page_shows_a_namespace(admin_client: Client) -> None:
    StoreItem.objects.filter(key="cake").update(expires_at=Now() - timedelta(hours=1))
    query = {"owner": "alice", "path": "users.u1"}

    top = admin_client.get(TREE).content.decode()
    with CaptureQueriesContext(connection) as queries:
        shown = admin_client.get(TREE, query).content.decode()

    assert "(no owner)" in top
    assert len(queries) <= 20
    assert "deep" in shown
    assert "expired" in shown
    assert "never" in shown
    item = StoreItem.objects.get(key="cake")
    value = admin_client.get(f"/admin/store/storeitem/{item.pk}/value/")
    assert "<code>100 % Tea_</code>" in value.content.decode()


def test_the_page_searches(admin_client: Client) -> None:
    query = {"owner": "alice", "path": "users", "q": "coffee", "by": "meaning"}

    shown = admin_client.get(TREE, query).content.decode()

    # Without an index, there is no search by meaning.
    assert "users.u1.deep" in shown
    assert 'value="meaning"' not in shown


def test_an_item_leads_to_its_namespace(admin_client: Client) -> None:
    item = StoreItem.objects.get(key="cake")

    shown = admin_client.get(f"/admin/store/storeitem/{item.pk}/change/")

    href = store_page.tree_link("alice", "users.u1").replace("&", "&amp;")
    assert href in shown.content.decode()


def test_others_see_no_tree(client_of: Callable[..., Client]) -> None:
    assert client_of("view_run").get(TREE).status_code == 403
