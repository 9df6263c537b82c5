from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.admin.models import LogEntry
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from spool.runs.models import OwnerLimit, Pause, Run
from spool.threads.models import Thread
from spool.usage.models import Budget, UsageTotal

pytestmark = pytest.mark.django_db

PAGE = "/admin/owners/alice/"


@pytest.fixture(autouse=True)
def usage(db: None) -> None:
    day = timezone.now().date()
    for owner in ("alice", "bob"):
        UsageTotal.objects.create(
            owner=owner, assistant_id=uuid4(), graph_id="echo", day=day, input=7
        )


def history() -> list[str]:
    entries = LogEntry.objects.filter(object_id="owner alice").order_by("pk")
    return [entry.change_message for entry in entries]


def test_what_is_theirs(admin_client: Client, thread: Thread) -> None:
    page = admin_client.get(PAGE)

    [threads, *_] = page.context["counts"]
    assert str(threads) == "1 thread"
    assert page.context["usage"]["total"]["total_tokens"] == 7
    listed = threads.href
    assert {row.pk for row in admin_client.get(listed).context["cl"].result_list} == {
        thread.pk
    }


def test_a_name_with_slashes_has_a_page(admin_client: Client) -> None:
    path = reverse("console-owner", args=["https://idp/users/7"])

    page = admin_client.get(path)

    assert page.context["owner"] == "https://idp/users/7"


def test_a_budget_is_set_and_removed(admin_client: Client) -> None:
    form = {"form": "budget", "period": "day", "unit": "tokens", "reason": "trial"}

    wrong = admin_client.post(PAGE, {**form, "limit": "-1"})
    assert wrong.context["budget_form"].errors
    admin_client.post(PAGE, {**form, "limit": "100"})
    budget = Budget.objects.get()
    assert budget.owner == "alice"
    assert budget.limit == 100
    admin_client.post(PAGE, {**form, "limit": "50"})
    assert Budget.objects.get().limit == 50
    admin_client.post(PAGE, {**form, "limit": ""})

    assert not Budget.objects.exists()
    assert history()[0] == "budget of tokens a day set to 100: trial"
    assert len(history()) == 3


def test_a_limit_is_set_and_removed(admin_client: Client) -> None:
    admin_client.post(PAGE, {"form": "limit", "max_running": "3", "reason": "noisy"})
    assert OwnerLimit.objects.get(owner="alice").max_running == 3
    assert "at most 3" in admin_client.get(PAGE).content.decode()
    admin_client.post(PAGE, {"form": "limit", "max_running": ""})

    assert not OwnerLimit.objects.exists()
    assert history()[0] == "limit of running runs set to 3: noisy"


def test_an_owner_is_paused_and_resumed(admin_client: Client) -> None:
    admin_client.post(PAGE, {"form": "pause", "reason": "a flood"})
    assert Pause.objects.filter(kind="owner", name="alice").exists()
    admin_client.post(PAGE, {"form": "resume"})

    assert not Pause.objects.exists()
    assert history() == ["paused: a flood", "resumed"]


@pytest.mark.django_db(transaction=True)
def test_everything_is_deleted(
    admin_client: Client, make_run: Callable[..., Run]
) -> None:
    make_run()
    Run.objects.update(owner="alice")
    asked = admin_client.get(PAGE).content.decode()
    assert "1 thread, 1 active run, 0 ended runs, 0 assistants, 0 crons" in asked
    other = Thread.objects.create(metadata={"owner": "bob"})
    form = {"form": "delete", "keep_usage": "on", "reason": "asked us to"}

    admin_client.post(PAGE, {**form, "name": "bob"})
    assert Thread.objects.count() == 2
    admin_client.post(PAGE, {**form, "name": "alice"})

    assert list(Thread.objects.values_list("pk", flat=True)) == [other.pk]
    assert UsageTotal.objects.filter(owner="alice").exists()
    assert history() == ["deleted threads (1): asked us to"]


@pytest.mark.parametrize(
    "form", ["budget", "limit", "pause", "resume", "delete", "nothing"]
)
def test_a_viewer_changes_nothing(client_of: Callable[..., Client], form: str) -> None:
    viewer = client_of("view_run")
    body: dict[str, Any] = {"form": form, "name": "alice", "period": "day"}

    assert viewer.post(PAGE, {**body, "unit": "tokens", "limit": 1}).status_code == 403
    assert "<form method" not in viewer.get(PAGE).content.decode().split("console")[1]


def test_others_see_no_owner(client_of: Callable[..., Client]) -> None:
    assert client_of("view_cron").get(PAGE).status_code == 403
