from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import Group, Permission, User
from django.test import Client
from django.urls import reverse

from spool.console import groups
from spool.console.groups import prepare_groups
from spool.console.models import PreparedGroup

pytestmark = pytest.mark.django_db


def codenames(name: str) -> set[str]:
    given = Group.objects.get(name=name).permissions
    return set(given.values_list("codename", flat=True))


def member(name: str) -> Client:
    user = User.objects.create_user(name, is_staff=True)
    user.groups.add(Group.objects.get(name=name))
    client = Client()
    client.force_login(user)
    return client


def test_three_groups_are_made_once() -> None:
    prepare_groups()
    prepare_groups()

    assert Group.objects.count() == 3
    assert codenames("viewer") < codenames("operator") < codenames("admin")
    assert all(name.startswith("view_") for name in codenames("viewer"))
    assert "view_pushconfig" not in codenames("operator")
    assert "view_apikey" not in codenames("viewer")
    assert {"add_apikey", "change_user", "add_budget"} <= codenames("admin")


def test_an_unchanged_group_gets_what_is_new(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(groups, "REPAIRS", frozenset({"runs.change_run"}))
    prepare_groups()
    before = codenames("operator")
    monkeypatch.undo()
    prepare_groups()

    assert before < codenames("operator")


def test_a_changed_or_deleted_group_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    prepare_groups()
    extra = Permission.objects.get(codename="add_apikey")
    Group.objects.get(name="operator").permissions.add(extra)
    Group.objects.get(name="viewer").delete()
    monkeypatch.setattr(groups, "REPAIRS", frozenset())

    prepare_groups()

    assert {"add_apikey", "change_run"} <= codenames("operator")
    assert not Group.objects.filter(name="viewer").exists()


def test_a_group_of_the_same_name_is_left_alone() -> None:
    theirs = Group.objects.create(name="admin")

    prepare_groups()
    prepare_groups()

    assert not theirs.permissions.exists()
    assert PreparedGroup.objects.get(name="admin").group is None


@pytest.mark.parametrize("name", ["viewer", "operator", "admin"])
def test_members_see_every_list(name: str) -> None:
    prepare_groups()
    client = member(name)

    pages: Any = {
        page: client.get(reverse(f"admin:{page}_changelist")).status_code
        for page in (
            "runs_run",
            "runs_worker",
            "threads_thread",
            "assistants_assistant",
            "crons_cron",
            "store_storeitem",
            "webhooks_webhookdelivery",
        )
    }
    assert set(pages.values()) == {200}
    keys = client.get(reverse("admin:access_apikey_changelist")).status_code
    assert keys == (403 if name == "viewer" else 200)
    overview = client.get(reverse("admin:index"))
    assert overview.status_code == 200
    # The menu has only the pages that they may see.
    menu = overview.content.decode()
    assert (reverse("admin:access_apikey_changelist") in menu) == (keys == 200)
    assert (reverse("admin:auth_user_changelist") in menu) == (name == "admin")


def test_the_login_leads_to_the_overview(client: Client) -> None:
    User.objects.create_user("ann", password="secret", is_staff=True)

    page = client.post(
        reverse("admin:login"), {"username": "ann", "password": "secret"}
    )

    assert page.headers["Location"] == reverse("admin:index")
