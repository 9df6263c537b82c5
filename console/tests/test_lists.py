from __future__ import annotations

from collections.abc import Callable
from html import unescape

import pytest
from django.test import Client
from django.urls import reverse

from spool.runs.models import Worker

pytestmark = pytest.mark.django_db

WORKERS = "/admin/runs/worker/"


def test_an_empty_list_offers_nothing_that_can_not_be_done(
    admin_client: Client,
) -> None:
    runs = admin_client.get("/admin/runs/run/?q=nothing").content.decode()
    keys = admin_client.get("/admin/access/apikey/").content.decode()

    assert "No runs found." in runs
    assert "Create a new item" not in runs
    assert "/admin/runs/run/add/" not in runs
    assert "No API keys." in keys
    assert "/admin/access/apikey/add/" in keys


def test_a_row_has_its_own_name_above_its_page(admin_client: Client) -> None:
    worker = Worker.objects.create(hostname="vm", pid=2423, capacity=10)
    page = reverse("admin:runs_worker_change", args=[worker.pk])

    shown = admin_client.get(page).content.decode()

    assert "vm:2423" in shown
    assert "Vm:2423" not in shown
    assert "Workers" in shown


def test_a_refusal_is_a_page_with_a_way_back(
    admin_client: Client, client_of: Callable[..., Client], client: Client
) -> None:
    browser = {"accept": "text/html"}
    viewer = client_of("view_run")

    refused = viewer.get("/admin/access/apikey/", headers=browser)
    missing = admin_client.get("/admin/nothing/", headers=browser)

    assert refused.status_code == 403
    assert "Your groups don't allow this page" in unescape(refused.content.decode())
    assert missing.status_code == 404
    assert "may have been deleted" in missing.content.decode()
    part = {**browser, "hx-request": "true"}
    assert viewer.get("/admin/access/apikey/", headers=part).json() == {
        "detail": "Forbidden"
    }
    assert client.get("/nothing", headers=browser).json() == {"detail": "Not Found"}
