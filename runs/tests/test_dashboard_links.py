"""The links of the figures on the admin's first page."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.db.models.functions import Now
from django.test import Client
from django.urls import reverse

from spool.runs.models import Run
from spool.webhooks.models import WebhookDelivery

pytestmark = pytest.mark.django_db

MakeRun = Callable[..., Run]


def test_the_figure_of_what_failed_leads_to_those_runs(
    admin_client: Client, make_run: MakeRun
) -> None:
    runs = {name: make_run(thread_id=None) for name in ("error", "timeout", "success")}
    for status, run in runs.items():
        Run.objects.filter(pk=run.pk).update(status=status)
    old = make_run(thread_id=None)
    long_ago = Now() - timedelta(days=2)
    Run.objects.filter(pk=old.pk).update(status="error", created_at=long_ago)

    figures = admin_client.get(reverse("admin:index")).context["figures"]
    [figure] = [one for one in figures if one["title"] == "Failed within a day"]
    listed = admin_client.get(figure["href"]).context["cl"].result_list

    assert figure["value"] == "2"
    assert {run.pk for run in listed} == {runs["error"].pk, runs["timeout"].pk}


def test_the_figure_of_webhooks_leads_to_those_on_their_way(
    admin_client: Client,
) -> None:
    def make(**fields: Any) -> WebhookDelivery:
        ids = {"run_id": uuid4(), "thread_id": uuid4()}
        url = "https://example.com/"
        return WebhookDelivery.objects.create(url=url, payload={}, **ids, **fields)

    waiting = make()
    make(next_attempt_at=None, delivered_at=Now())

    figures = admin_client.get(reverse("admin:index")).context["figures"]
    [figure] = [one for one in figures if one["title"] == "Webhooks on their way"]
    listed = admin_client.get(figure["href"]).context["cl"].result_list

    assert figure["value"] == "1"
    assert [delivery.pk for delivery in listed] == [waiting.pk]
