"""What the admin's pages of runs and webhooks show, and their links."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.admin.models import LogEntry
from django.test import Client
from django.urls import reverse

from spool.console import markup
from spool.runs.models import Run
from spool.webhooks.attempts import Attempt, as_stored
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
        payload={"api_key": "sk-1", "values": "x" * 5000},
    )

    text = page(admin_client, "webhooks_webhookdelivery", delivery)
    body_path = reverse("admin:webhooks_webhookdelivery_body", args=[delivery.pk])
    body = admin_client.get(body_path).content.decode()

    assert "x" * 1000 in body
    assert "x" * 2000 not in body
    assert "sk-1" not in body
    assert body_path in text
    assert reverse("admin:runs_run_change", args=[delivery.run_id]) in text


def test_a_webhook_shows_its_attempts(admin_client: Client) -> None:
    failed = Attempt(
        number=2,
        started_at="2026-11-23T10:02:28+00:00",
        duration_ms=12,
        status=503,
        response='<b>down</b> {"api_key": "sk-1"}',
    )
    delivery = WebhookDelivery.objects.create(
        run_id=uuid4(),
        thread_id=uuid4(),
        url="https://me:s3cret@example.com/?token=t0ken",
        payload={},
        earlier_attempts=2,
        attempts=1,
        **as_stored(WebhookDelivery(), failed),
    )

    text = page(admin_client, "webhooks_webhookdelivery", delivery)

    assert "&lt;b&gt;down&lt;/b&gt;" in text
    assert '<span class="badge bad">503</span>' in text
    assert "3, of which 2 before it was sent again" in text
    assert text.count("No result was recorded") == 2
    assert not [secret for secret in ("sk-1", "s3cret", "t0ken") if secret in text]


def test_a_webhook_is_sent_again_with_a_reason(admin_client: Client) -> None:
    delivery = WebhookDelivery.objects.create(
        run_id=uuid4(), thread_id=uuid4(), url="https://x.y", payload={}, attempts=11
    )
    args = [delivery.pk, "resend"]
    button = reverse("admin:webhooks_webhookdelivery_operation", args=args)

    asked = admin_client.get(button).content.decode()
    admin_client.post(button, {"reason": "it is up again"})

    assert "even if it was delivered before" in asked
    delivery.refresh_from_db()
    assert (delivery.attempts, delivery.total_attempts) == (0, 11)
    entry = LogEntry.objects.get(object_id=str(delivery.pk))
    assert entry.change_message == "sent again: it is up again"


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
