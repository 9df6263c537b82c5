"""Webhook deliveries for operators: results and errors, and sending them again."""

from __future__ import annotations

from typing import Any

import httpx
from django.contrib import admin
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from unfold.decorators import display

from spool.console.badges import COLOURS
from spool.console.lists import document
from spool.console.markup import link
from spool.console.operations import OperatedAdmin, Operation
from spool.runs import tasks
from spool.webhooks import deliveries
from spool.webhooks.models import WebhookDelivery


def _resend(delivery: WebhookDelivery, answers: dict[str, Any]) -> bool:
    count = deliveries.resend(WebhookDelivery.objects.filter(pk=delivery.pk))
    tasks.send(tasks.deliver_webhooks)
    return bool(count)


RESEND = Operation(
    "resend", "Send again", _resend, done="sent again", left="it is gone"
)


class DeliveryFilter(admin.SimpleListFilter):
    title = "state"
    parameter_name = "state"
    rows = {
        "delivered": Q(delivered_at__isnull=False),
        "waiting": Q(next_attempt_at__isnull=False, attempts=0),
        "trying again": Q(next_attempt_at__isnull=False, attempts__gt=0),
        "given up": Q(next_attempt_at=None, delivered_at=None),
    }

    def lookups(self, request: HttpRequest, model_admin: Any) -> Any:
        return [(name, name) for name in self.rows]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> Any:
        return queryset.filter(self.rows.get(self.value() or "", Q()))


@admin.register(WebhookDelivery)
class WebhookDeliveryAdmin(OperatedAdmin):
    list_display = (
        "run_id",
        "state",
        "receiver",
        "all_attempts",
        "last_status",
        "last_error",
        "next_attempt_at",
        "delivered_at",
        "created_at",
    )
    list_filter = (DeliveryFilter,)
    search_ids = ("id", "run_id", "thread_id")
    search_fields = ("url",)
    search_help_text = "A whole URL, or the id of a run, a thread or a delivery"
    ordering = ("-created_at", "-id")
    fields = readonly_fields = (
        "id",
        "its_run",
        "thread_id",
        "state",
        "receiver",
        "all_attempts",
        "last_status",
        "last_error",
        "next_attempt_at",
        "delivered_at",
        "created_at",
        "payload_text",
    )
    payload_text = document("payload")
    operations = (RESEND,)

    def get_queryset(self, request: HttpRequest) -> QuerySet[WebhookDelivery]:
        found: QuerySet[WebhookDelivery] = super().get_queryset(request)
        return found.defer("payload")

    @display(label=COLOURS)
    def state(self, delivery: WebhookDelivery) -> str:
        if delivery.delivered_at:
            return "delivered"
        if delivery.next_attempt_at is None:
            return "given up"
        return "trying again" if delivery.attempts else "waiting"

    @display(description="attempts")
    def all_attempts(self, delivery: WebhookDelivery) -> int:
        """Those before it was sent again count, too."""
        return delivery.earlier_attempts + delivery.attempts

    @display(description="run")
    def its_run(self, delivery: WebhookDelivery) -> str:
        return link("runs_run", delivery.run_id)

    @display(description="URL")
    def receiver(self, delivery: WebhookDelivery) -> str:
        """The URL, without a password that it may contain."""
        url = httpx.URL(delivery.url)
        hidden = "***" if url.password else None
        return str(url.copy_with(password=hidden) if hidden else url)
