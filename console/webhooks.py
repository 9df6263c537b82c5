"""Webhook deliveries for operators: their attempts, and sending them again."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any
from uuid import UUID

from django.contrib import admin
from django.db import transaction
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern
from unfold.decorators import display

from spool.console.badges import COLOURS
from spool.console.markup import as_text, short_id, short_link
from spool.console.operations import OperatedAdmin, Operation
from spool.console.paging import Search
from spool.console.redaction import without_secrets
from spool.runs import tasks
from spool.webhooks import deliveries
from spool.webhooks.attempts import Attempt, attempts_of
from spool.webhooks.models import WebhookDelivery


def _resend(delivery: WebhookDelivery, answers: dict[str, Any]) -> bool:
    count = deliveries.resend(WebhookDelivery.objects.filter(pk=delivery.pk))
    transaction.on_commit(partial(tasks.send, tasks.deliver_webhooks))
    return bool(count)


RESEND = Operation(
    "resend",
    "Send again",
    _resend,
    done="sent again",
    left="it is gone",
    warning="It is sent now, even if it was delivered before, with all retries again. "
    "The receiver gets the same webhook-id.",
)


def _state(delivery: WebhookDelivery) -> str:
    if delivery.delivered_at:
        return "delivered"
    if delivery.next_attempt_at is None:
        return "given up"
    return "trying again" if delivery.attempts else "waiting"


@dataclass(frozen=True, slots=True)
class AttemptLine:
    """An attempt on the page of its delivery.

    `attempt` is None if no result was recorded.
    """

    number: int
    attempt: Attempt | None

    @property
    def is_good(self) -> bool:
        status = self.attempt and self.attempt.status
        return bool(status and 200 <= status < 300)

    @property
    def text(self) -> str:
        """The response or the error, without secrets."""
        if self.attempt is None:
            return ""
        return without_secrets(self.attempt.error or self.attempt.response)

    @property
    def body(self) -> str:
        """The beginning of the sent body, without secrets; empty if it was not kept."""
        return without_secrets(self.attempt.body) if self.attempt else ""


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

    @property
    def is_indexed(self) -> bool:
        return self.value() == "given up"

    def nearby(self, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Undelivered rows, which are few and have an index."""
        if self.value() == "delivered":
            return queryset
        return queryset.exclude(next_attempt_at=None)

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> Any:
        return queryset.filter(self.rows.get(self.value() or "", Q()))


@admin.register(WebhookDelivery)
class WebhookDeliveryAdmin(OperatedAdmin):
    list_display = (
        "short",
        "its_run",
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
    indexed_filters = ("next_attempt_at",)
    sortable_by = ("created_at",)
    search_ids = ("id", "run_id", "thread_id")
    search_fields = ("url",)
    search_help_text = "A whole URL, or the id of a run, a thread or a delivery"
    ordering = ("-created_at", "-id")
    change_form_template = "console/webhook.html"
    operations = (RESEND,)

    def get_queryset(self, request: HttpRequest) -> QuerySet[WebhookDelivery]:
        found: QuerySet[WebhookDelivery] = super().get_queryset(request)
        # These may be large, and a row's own page loads them when they are shown.
        return found.defer("payload", "recorded", "sent_bodies")

    def searched(self, term: str) -> Search:
        ids = self.with_id(term)
        return Search(ids) if ids else Search([Q(url=term)], among=Q())

    @display(description="delivery")
    def short(self, delivery: WebhookDelivery) -> str:
        return short_id(delivery.pk)

    @display(description="run")
    def its_run(self, delivery: WebhookDelivery) -> str:
        return short_link("runs_run", delivery.run_id)

    @display(label=COLOURS)
    def state(self, delivery: WebhookDelivery) -> str:
        return _state(delivery)

    @display(description="attempts")
    def all_attempts(self, delivery: WebhookDelivery) -> int:
        return delivery.total_attempts

    @display(description="URL")
    def receiver(self, delivery: WebhookDelivery) -> str:
        return without_secrets(delivery.url)

    # --- One delivery -----------------------------------------------------------------
    def get_urls(self) -> list[URLPattern]:
        return [*self.part_urls(body=self.body_view), *super().get_urls()]

    def page_context(
        self, request: HttpRequest, row: WebhookDelivery
    ) -> dict[str, Any]:
        shown = [AttemptLine(number, one) for number, one in attempts_of(row)]
        return {
            "title": f"Webhook {row.pk}",
            "subtitle": None,
            "delivery": row,
            "state": _state(row),
            "receiver": self.receiver(row),
            "attempts": shown,
            "attempts_left_out": row.total_attempts - len(shown),
        }

    def body_view(self, request: HttpRequest, key: UUID) -> HttpResponse:
        """The body that is sent, which may be megabytes."""
        delivery: WebhookDelivery = self.visible_row(request, key)
        return HttpResponse(as_text(delivery.payload, hides_secrets=True))
