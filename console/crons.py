"""Crons for operators: schedules, firings, and operations such as pause.

Owners define crons over the API. They are not edited here, since saving a form would
overwrite what a tick has changed in the meantime.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from uuid import UUID

from django.contrib import admin
from django.db.models import F, OuterRef, Q, QuerySet, Subquery
from django.db.models.functions import Now
from django.http import HttpRequest
from unfold.admin import TabularInline
from unfold.decorators import display

from spool.assistants.models import Assistant
from spool.console import badges
from spool.console.cron_operations import CRON_OPERATIONS
from spool.console.lists import document
from spool.console.markup import link
from spool.console.operations import OperatedAdmin
from spool.crons import services
from spool.crons.models import Cron, CronFiring
from spool.crons.schedule import BadSchedule, describe
from spool.runs.models import Run

COLOURS = {
    **badges.COLOURS,
    "enabled": "success",
    "paused": "info",
    "disabled": "danger",
}


class TroubleFilter(admin.SimpleListFilter):
    title = "trouble"
    parameter_name = "trouble"
    rows = {
        "disabled": Q(enabled=False) & ~Q(disabled_reason=""),
        "missed": Q(missed__gt=0),
        "failed": Q(last_status__in=[Run.Status.ERROR, Run.Status.TIMEOUT]),
        "overdue": Q(enabled=True, next_run_date__lt=Now()),
    }

    def lookups(
        self, request: HttpRequest, model_admin: Any
    ) -> Iterable[tuple[str, str]]:
        return [
            ("disabled", "disabled, for a reason"),
            ("missed", "missed slots"),
            ("failed", "last run failed"),
            ("overdue", "due, but not fired yet"),
        ]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Cron]) -> Any:
        return queryset.filter(self.rows.get(self.value() or "", Q()))


class FiringInline(TabularInline):  # type: ignore[misc]
    model = CronFiring
    ordering = ("-fired_at", "-id")
    per_page = 20
    extra = 0
    fields = readonly_fields = (
        "slot",
        "fired_at",
        "seconds_late",
        "missed",
        "result",
        "error",
        "run",
        "thread_id",
    )

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    has_change_permission = has_delete_permission = has_add_permission

    @display(description="seconds late")
    def seconds_late(self, record: CronFiring) -> str:
        return "-" if record.lateness is None else f"{record.lateness:.1f}"

    def run(self, record: CronFiring) -> str:
        return link("runs_run", record.run_id)

    @display(label=COLOURS)
    def result(self, record: CronFiring) -> str:
        return record.status or "unknown"


@admin.register(Cron)
class CronAdmin(OperatedAdmin):
    list_display = (
        "schedule",
        "timezone",
        "owner",
        "assistant",
        "thread_id",
        "state",
        "next_run_date",
        "last_result",
        "last_fired_at",
        "missed",
        "disabled_reason",
    )
    list_filter = (TroubleFilter, "enabled", "on_run_completed")
    search_fields = ("owner",)
    search_help_text = (
        "A schedule, an owner, or the id of a cron, a thread or an assistant"
    )
    ordering = ("-created_at", "id")
    fields = readonly_fields = (
        "id",
        "schedule",
        "in_words",
        "timezone",
        "state",
        "disabled_reason",
        "next_run_date",
        "end_time",
        "catch_up",
        "missed",
        "owner",
        "user_id",
        "its_assistant",
        "its_thread",
        "on_run_completed",
        "payload_text",
        "metadata_text",
        "created_at",
        "updated_at",
    )
    payload_text = document("payload")
    metadata_text = document("metadata")
    inlines = (FiringInline,)
    operations = CRON_OPERATIONS
    deletable = True

    # --- Reading ----------------------------------------------------------------------
    def get_queryset(self, request: HttpRequest) -> QuerySet[Cron]:
        assistants = Assistant.objects.filter(pk=OuterRef("assistant_id"))
        newest = CronFiring.objects.filter(cron=OuterRef("pk")).newest_first()
        crons: QuerySet[Cron] = super().get_queryset(request)
        return crons.annotate(
            assistant_name=Subquery(assistants.values("name")[:1]),
            last_status=Subquery(newest.values("status")[:1]),
            last_fired_at=Subquery(newest.values("fired_at")[:1]),
        )

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Cron], search_term: str
    ) -> tuple[QuerySet[Cron], bool]:
        """Search exact values, so that a million crons can be searched."""
        if not (term := search_term.strip()):
            return queryset, False
        try:
            key = UUID(term)
        except ValueError:
            return queryset.filter(Q(owner=term) | Q(schedule=term)), False
        found = Q(id=key) | Q(thread_id=key) | Q(assistant_id=key) | Q(owner=term)
        return queryset.filter(found), False

    @display(label=COLOURS)
    def state(self, cron: Cron) -> str:
        if cron.enabled:
            return "enabled"
        return "disabled" if cron.disabled_reason else "paused"

    @display(label=COLOURS)
    def last_result(self, cron: Any) -> str:
        return cron.last_status or "-"

    def assistant(self, cron: Any) -> str:
        """The assistant's name; a system assistant's is its graph's."""
        return cron.assistant_name or str(cron.assistant_id)

    @display(description="last fired at", ordering=F("last_fired_at"))
    def last_fired_at(self, cron: Any) -> Any:
        return cron.last_fired_at

    @display(description="assistant")
    def its_assistant(self, cron: Cron) -> str:
        return link("assistants_assistant", cron.assistant_id)

    @display(description="thread")
    def its_thread(self, cron: Cron) -> str:
        return link("threads_thread", cron.thread_id)

    def in_words(self, cron: Cron) -> str:
        try:
            return describe(cron.schedule)
        except BadSchedule as exc:
            return str(exc)

    # --- Deleting ---------------------------------------------------------------------
    def get_deleted_objects(
        self, objs: Iterable[Cron], request: HttpRequest
    ) -> tuple[list[str], dict[str, int], set[str], list[str]]:
        """Don't list the firings, since there may be millions."""
        crons = [str(cron) for cron in objs]
        return crons, {"crons, with their firings": len(crons)}, set(), []

    def delete_model(self, request: HttpRequest, obj: Cron) -> None:
        services.delete_cron(obj)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Cron]) -> None:
        for cron in queryset:
            services.delete_cron(cron)
