"""What the admin's pages of runs and webhooks show, and their links."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest
from django.test import Client
from django.urls import reverse

from spool.console import markup
from spool.runs.models import Run
from spool.webhooks.models import WebhookDelivery

pytestmark = pytest.mark.django_db

MakeRun = Callable[..., Run]


def page(client: Client, model: str, row: Any) -> str:
    response = client.get(reverse(f"admin:{model}_change", args=[row.pk]))
    assert response.status_code == 200
    return response.content.decode()


def test_what_a_run_was_given_is_readable(
    admin_client: Client, make_run: MakeRun
) -> None:
    run = make_run(input={"zebra": "Zürich 東京", "a": "<b>x</b>"}, metadata={"n": [1]})

    text = page(admin_client, "runs_run", run)

    assert "Zürich 東京" in text
    # One key per line, in the client's order.
    assert "\n  &quot;zebra&quot;: &quot;Zürich 東京&quot;,\n" in text
    assert "\n  &quot;a&quot;: &quot;&lt;b&gt;x&lt;/b&gt;&quot;\n" in text
    assert "<b>x</b>" not in text


def test_what_a_run_was_given_is_cut_where_it_is_long(
    admin_client: Client, make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(markup, "MAX_CHARACTERS", 2000)
    run = make_run(input="x" * 5000, metadata={"long": "y" * 5000})

    text = page(admin_client, "runs_run", run)

    assert "x" * 2000 not in text
    assert "y" * 2000 not in text
    assert text.count("characters in all") == 2


def test_what_a_webhook_tells_is_cut_where_it_is_long(
    admin_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(markup, "MAX_CHARACTERS", 2000)
    delivery = WebhookDelivery.objects.create(
        run_id=uuid4(),
        thread_id=uuid4(),
        url="https://example.com/",
        payload={"values": "x" * 5000},
    )

    text = page(admin_client, "webhooks_webhookdelivery", delivery)

    assert "x" * 2000 not in text
    assert reverse("admin:runs_run_change", args=[delivery.run_id]) in text


def test_a_run_leads_to_its_thread_and_its_assistant(
    admin_client: Client, make_run: MakeRun
) -> None:
    run, temporary = make_run(), make_run(thread_id=None)
    Run.objects.filter(pk=temporary.pk).update(status="success")

    text = page(admin_client, "runs_run", run)
    over = page(admin_client, "runs_run", temporary)

    assert reverse("admin:threads_thread_change", args=[run.thread_id]) in text
    assert reverse("admin:assistants_assistant_change", args=[run.assistant_id]) in text
    # Its thread was deleted with it.
    assert "/threads/thread/0" not in over
    assert str(temporary.thread_id) in over
