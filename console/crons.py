"""Crons for operators: schedules, firings, and operations such as pause.

Owners define crons over the API. They are not edited here, since saving a form would
overwrite what a tick has changed in the meantime.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import OuterRef, Q, QuerySet, Subquery
from django.db.models.functions import Now
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.utils.dateparse import parse_datetime
from unfold.decorators import display

from spool.assistants.models import Assistant
from spool.console import badges, cron_page
from spool.console.cron_calendar import calendar
from spool.console.cron_operations import CRON_OPERATIONS
from spool.console.lists import MAX_FOUND, ids_in
from spool.console.markup import short_link
from spool.console.operations import OperatedAdmin
from spool.console.paging import Search
from spool.crons.models import Cron, CronFiring
from spool.runs.models import Run


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

    @property
    def is_indexed(self) -> bool:
        return self.value() == "overdue"

    def queryset(self, request: HttpRequest, queryset: QuerySet[Cron]) -> Any:
        found = self.rows.get(self.value() or "", Q())
        if not self.is_indexed:
            return queryset.filter(found)
        first = Cron.objects.filter(found).order_by("next_run_date")
        return queryset.filter(pk__in=first.values("pk")[:MAX_FOUND])


@admin.register(Cron)
class CronAdmin(OperatedAdmin):
    list_display = (
        "schedule",
        "timezone",
        "state",
        "its_owner",
        "assistant",
        "next_run_date",
        "last_result",
        "last_fired_at",
        "missed",
        "disabled_reason",
        "its_thread",
    )
    list_filter = (TroubleFilter, "enabled", "on_run_completed")
    list_defer = ("payload", "given", "metadata")
    search_fields = ("owner",)
    search_help_text = (
        "A schedule, an owner, or the id of a cron, a thread or an assistant"
    )
    ordering = ("-created_at", "id")
    change_form_template = "console/cron.html"
    list_before_template = "console/cron_link.html"
    operations = CRON_OPERATIONS

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

    def searched(self, term: str) -> Search:
        """Search exact values, which is fast for a million crons, too."""
        if ids := ids_in(term):
            found = [Q(pk__in=ids), Q(thread_id__in=ids), Q(assistant_id__in=ids)]
            return Search([*found, Q(owner=term)], among=Q())
        if " " in term or term.startswith("@"):
            return Search([Q(owner=term), Q(schedule=term)], among=Q())
        return Search([Q(owner=term)])

    @display(label=badges.COLOURS)
    def state(self, cron: Cron) -> str:
        return cron_page.state(cron)

    @display(label=badges.COLOURS)
    def last_result(self, cron: Any) -> str:
        return cron.last_status or "-"

    @display(description="thread")
    def its_thread(self, cron: Cron) -> str:
        return short_link("threads_thread", cron.thread_id)

    def assistant(self, cron: Any) -> str:
        """The assistant's name; for a system assistant the name of its graph."""
        return cron.assistant_name or str(cron.assistant_id)

    @display(description="last fired at")
    def last_fired_at(self, cron: Any) -> Any:
        return cron.last_fired_at

    # --- One cron ---------------------------------------------------------------------
    def page_context(self, request: HttpRequest, row: Cron) -> dict[str, Any]:
        hides = not self.has_act_permission(request)
        before = request.GET.get("before")
        figures = cron_page.figures(row, before, hides_secrets=hides)
        return {"title": f"Cron {row.pk}", "subtitle": None, **figures}

    # --- The calendar -----------------------------------------------------------------
    def get_urls(self) -> list[URLPattern]:
        own = path(
            "calendar/",
            self.admin_site.admin_view(self.calendar_view),
            name="crons_cron_calendar",
        )
        return [own, *super().get_urls()]

    def calendar_view(self, request: HttpRequest) -> HttpResponse:
        """The calendar. `?from=` is a time, whose hour's crons are listed."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        try:
            since = parse_datetime(request.GET.get("from", ""))
        except ValueError:
            since = None
        context = {
            **self.admin_site.each_context(request),
            "title": "Calendar of crons",
            **calendar(since if since and since.tzinfo else None),
        }
        return TemplateResponse(request, "console/cron_calendar.html", context)
