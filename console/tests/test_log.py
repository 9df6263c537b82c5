"""The log of the acts of the console's users."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.test import Client
from django.urls import reverse

from spool.threads.models import Thread

pytestmark = pytest.mark.django_db

LOG = "/admin/admin/logentry/"


def test_it_shows_who_did_what_and_why(admin_client: Client, thread: Thread) -> None:
    path = reverse("admin:threads_thread_operation", args=[thread.pk, "delete"])
    admin_client.post(path, {"reason": "a test"})
    admin_client.post(reverse("console-owner", args=["alice"]), {"form": "pause"})

    shown = admin_client.get(LOG).content.decode()

    assert "deleted: a test" in shown
    assert str(thread.pk) in shown
    # The thread no longer has a page; the owner has one.
    assert reverse("admin:threads_thread_change", args=[thread.pk]) not in shown
    assert reverse("console-owner", args=["alice"]) in shown


def test_a_viewer_does_not_see_it(client_of: Callable[..., Client]) -> None:
    assert client_of("view_run").get(LOG).status_code == 403
