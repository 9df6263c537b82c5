"""Acts of users of the console and their log entries are stored together."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User
from django.db import IntegrityError
from django.test import Client
from django_celery_beat.models import PeriodicTask

from spool.access.keys import create_key
from spool.access.models import ApiKey
from spool.console.entries import Act
from spool.periodic import ensure_periodic_tasks

pytestmark = pytest.mark.django_db


def messages() -> list[str]:
    entries = LogEntry.objects.order_by("pk")
    return [entry.get_change_message() for entry in entries]


def act_of(user_id: int, **given: Any) -> Act:
    return Act(user_id, ApiKey, "1", "a key", "Revoke", "leaked", **given)


def test_an_act_that_finishes_is_logged_with_its_reason(admin_user: User) -> None:
    assert act_of(admin_user.pk).log(lambda: 3, lambda count: f"revoked {count}") == 3
    assert not act_of(admin_user.pk).log(lambda: 0, str)

    assert messages() == ["revoked 3: leaked"]


@pytest.mark.django_db(transaction=True)
def test_an_act_that_can_not_be_logged_is_undone() -> None:
    unknown = act_of(-1)

    with pytest.raises(IntegrityError):
        unknown.log(lambda: create_key(owner="alice"), str)

    assert not ApiKey.objects.exists()


@pytest.mark.parametrize(
    ("result", "logged"), [(True, ["forked: leaked"]), (False, [])]
)
def test_an_act_of_several_transactions_is_logged_before_it_begins(
    admin_user: User, result: bool, logged: list[str]
) -> None:
    act = act_of(admin_user.pk, is_one_transaction=False)
    meanwhile: list[str] = []

    def do() -> bool:
        meanwhile.extend(messages())
        return result

    act.log(do, lambda _: "forked")

    assert meanwhile == ["Revoke: not finished: leaked"]
    assert messages() == logged


def test_a_key_is_created_with_a_reason(admin_client: Client) -> None:
    form = {"owner": "alice", "name": "", "scopes": "", "reason": "a new backend"}
    shown = admin_client.get("/admin/access/apikey/add/").content.decode()
    admin_client.post("/admin/access/apikey/add/", form)

    assert 'name="reason"' in shown
    assert messages() == ["Added: a new backend"]


def test_a_user_is_added_changed_and_deleted_with_a_reason(
    admin_client: Client,
) -> None:
    new = {"username": "eve", "password1": "Xq7-rope-42", "password2": "Xq7-rope-42"}
    listed = admin_client.get("/admin/auth/user/").content.decode()
    admin_client.post("/admin/auth/user/add/", {**new, "reason": "on call"})
    eve = User.objects.get(username="eve")
    page = f"/admin/auth/user/{eve.pk}"
    changed = {"username": "eva", "date_joined_0": "2026-01-01", "date_joined_1": "0:0"}
    admin_client.post(f"{page}/change/", {**changed, "reason": "misspelled"})
    asked = admin_client.get(f"{page}/delete/").content.decode()
    admin_client.post(f"{page}/delete/", {"post": "yes", "reason": "has left"})

    assert "/admin/auth/user/add/" in listed
    assert 'name="reason"' in asked
    assert [text.split(": ")[-1] for text in messages()] == [
        "on call",
        "misspelled",
        "has left",
    ]


def test_periodic_tasks_are_switched_with_a_reason(admin_client: Client) -> None:
    ensure_periodic_tasks()
    task = PeriodicTask.objects.get(task="crons.tasks.tick")
    page = f"/admin/django_celery_beat/periodictask/{task.pk}/operations"

    admin_client.post(f"{page}/disable/", {"reason": "a storm"})
    task.refresh_from_db()
    assert not task.enabled
    admin_client.post(f"{page}/enable/", {"reason": "it is over"})
    task.refresh_from_db()

    assert task.enabled
    assert messages() == ["disabled: a storm", "enabled: it is over"]
