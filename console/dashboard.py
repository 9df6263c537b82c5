"""The admin's first page: active, waiting and failed runs."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from django.db.models import Min, Sum
from django.db.models.functions import Now
from django.http import HttpRequest
from django.template.defaultfilters import pluralize
from django.urls import reverse
from django.utils import timezone
from django.utils.http import urlencode
from django.utils.timesince import timesince

from spool.runs.models import Run, Worker
from spool.webhooks.models import WebhookDelivery

# The maximum of rows to count, and of newest failures to show.
MAX_COUNTED = 10_000
MAX_SHOWN = 8


def add_figures(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """Figures for `console/dashboard.html`; each links to the rows that it counts."""
    webhooks = reverse("admin:webhooks_webhookdelivery_changelist")
    a_day_ago = timezone.now() - timedelta(days=1)
    recent = Run.objects.filter(created_at__gte=a_day_ago)
    failed = recent.failed()
    context["figures"] = [
        *_now(),
        {
            "title": "Failed within a day",
            "value": _count(failed),
            "note": f"of {_count(recent)} runs",
            "href": f"{_runs()}?{urlencode(_failed_since(a_day_ago))}",
        },
        {
            "title": "Webhooks on their way",
            "value": _count(WebhookDelivery.objects.exclude(next_attempt_at=None)),
            "note": "delivered at least once, for a day",
            "href": f"{webhooks}?next_attempt_at__isnull=False",
        },
    ]
    context["failures"] = [
        {
            "run": run,
            "href": reverse("admin:runs_run_change", args=[run.pk]),
            "why": ": ".join(str(part) for part in (run.error or {}).values() if part),
        }
        for run in failed.newest_first().defer("kwargs", "given", "metadata")[
            :MAX_SHOWN
        ]
    ]
    return context


def _now() -> list[dict[str, Any]]:
    workers = Worker.objects.alive()
    alive = workers.count()
    capacity = workers.aggregate(total=Sum("capacity"))["total"] or 0
    running, waiting = Run.objects.running(), Run.objects.pending()
    return [
        {
            "title": "Running",
            "value": _count(running),
            "note": f"of {capacity} at once, on {alive} worker{pluralize(alive)}",
            "href": f"{_runs()}?status__exact=running",
        },
        {
            "title": "Waiting",
            "value": _count(waiting),
            "note": _longest_wait(waiting),
            "href": f"{_runs()}?status__exact=pending",
        },
    ]


def _runs() -> str:
    return reverse("admin:runs_run_changelist")


def _failed_since(moment: datetime) -> dict[str, str]:
    """The query of the list of runs that have failed since then."""
    return {"status__in": ",".join(Run.FAILED), "created_at__gte": moment.isoformat()}


def _count(rows: Any) -> str:
    count = rows.order_by()[:MAX_COUNTED].count()
    return f"{count}" if count < MAX_COUNTED else f"{count} or more"


def _longest_wait(waiting: Any) -> str:
    oldest = waiting.filter(created_at__lte=Now()).aggregate(at=Min("created_at"))["at"]
    return f"the longest for {timesince(oldest, depth=1)}" if oldest else "nobody"
