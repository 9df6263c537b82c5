"""Ends runs with a webhook, as their worker does."""

from __future__ import annotations

from typing import Any

from django.db.models.functions import Now

from spool.runs import lifecycle
from spool.runs.lifecycle import Outcome
from spool.runs.models import Run
from spool.webhooks.models import WebhookDelivery

VALUES = {"answer": 42, "nul": "a\x00b"}


def ended(run: Run, status: str = "success", error: Any = None) -> WebhookDelivery:
    """End the run as its worker does. Returns the delivery of its webhook."""
    Run.objects.filter(pk=run.pk).update(status="running", started_at=Now())
    run.refresh_from_db()
    state = {"values": VALUES, "interrupts": {}, "status": "idle"}
    assert lifecycle.end_here(run, Outcome(status, error, state))
    return WebhookDelivery.objects.get(run_id=run.id)
