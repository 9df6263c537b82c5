"""Runs for operators: their state, their errors, and what can be done about them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID

from django.contrib import admin
from django.contrib.postgres.search import (
    SearchQuery,
    SearchVector,
    SearchVectorExact,
)
from django.db.models import Max, Q, QuerySet
from django.db.models.fields.json import KeyTextTransform
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern
from django.utils import timezone
from unfold.contrib.filters.admin import RangeDateTimeFilter
from unfold.decorators import display

from spool.assistants.graphs import registry
from spool.assistants.models import Assistant
from spool.console import run_page
from spool.console.badges import COLOURS
from spool.console.lists import (
    MAX_FOUND,
    ChoiceFilter,
    ExactTextFilter,
    ids_from,
    ids_in,
    metadata_filter,
)
from spool.console.markup import short_id, short_link
from spool.console.operations import OperatedAdmin
from spool.console.paging import Search
from spool.console.run_operations import RUN_OPERATIONS
from spool.console.templatetags.console import seconds
from spool.console.thread_operations import ANSWER, CONTINUE
from spool.runs import figures
from spool.runs.figures import Range
from spool.runs.models import Run, RunAttempt, Worker
from spool.runs.periods import RunFailure
from spool.threads.models import Thread

NO_BREAK = "\N{NO-BREAK SPACE}"
# Characters of an error that a list shows.
MAX_ERROR_LENGTH = 200
# How many assistants are searched if their ids begin with a term.
MAX_ASSISTANTS = 3
# How many exceptions the filter offers.
MAX_ERRORS = 20
# Failed runs that a page reads to find words which many errors have.
MAX_ERRORS_READ = 5_000
FAILED = Q(status__in=(*Run.FAILED, Run.Status.INTERRUPTED), error__isnull=False)


class GraphFilter(ChoiceFilter):
    title = "graph"
    parameter_name = "graph"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Any:
        return [(graph_id, graph_id) for graph_id in registry().graph_ids]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Run]) -> Any:
        return queryset.filter(graph_id=self.value()) if self.value() else queryset


class WorkerFilter(ChoiceFilter):
    title = "worker"
    parameter_name = "worker"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Any:
        alive = Worker.objects.alive().order_by("hostname", "pid")
        return [(str(worker.id), str(worker)) for worker in alive]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Run]) -> Any:
        known = Worker.objects.filter(pk__in=ids_in(self.value()))
        return queryset.filter(worker__in=known) if self.value() else queryset

    def nearby(self, queryset: QuerySet[Run]) -> QuerySet[Run]:
        """Runs that were created before the worker's last heartbeat."""
        known = Worker.objects.filter(pk__in=ids_in(self.value()))
        last = known.aggregate(last=Max("heartbeat_at"))["last"]
        return queryset.filter(created_at__lte=last) if last else queryset


class TroubleFilter(admin.SimpleListFilter):
    title = "trouble"
    parameter_name = "trouble"
    is_indexed = True

    def lookups(self, request: HttpRequest, model_admin: Any) -> Any:
        return [("lost", "lost a worker")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Run]) -> Any:
        if self.value() != "lost":
            return queryset
        lost = RunAttempt.objects.filter(outcome=RunAttempt.Outcome.LOST)
        newest = lost.order_by("-ended_at").values("run_id")[:MAX_FOUND]
        return queryset.filter(pk__in=newest)


class ErrorFilter(ChoiceFilter):
    """A filter by the exception; it offers the most frequent ones of the last week."""

    title = "error"
    parameter_name = "error"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Any:
        found = figures.failures(Range.WEEK)
        names = dict.fromkeys(one.error for one in found)
        return [(one, one) for one in names if one != RunFailure.OTHER][:MAX_ERRORS]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Run]) -> Any:
        if not self.value():
            return queryset
        return queryset.filter(FAILED, error__error=self.value())

    def nearby(self, queryset: QuerySet[Run]) -> QuerySet[Run]:
        return queryset.filter(FAILED)


@admin.register(Run)
class RunAdmin(OperatedAdmin):
    list_display = (
        "short",
        "state",
        "graph_id",
        "its_owner",
        "created_at",
        "waited",
        "took",
        "failure",
        "its_thread",
        "attempt",
        "worker",
    )
    list_filter = (
        "status",
        GraphFilter,
        "run_class",
        ErrorFilter,
        TroubleFilter,
        WorkerFilter,
        ("owner", ExactTextFilter),
        ("created_at", RangeDateTimeFilter),
    )
    list_filter_submit = True
    list_select_related = ("worker",)
    indexed_filters = ("status", "created_at")
    sortable_by = ("created_at",)
    search_fields = ("owner",)
    search_ids = ("id", "thread_id")
    search_help_text = (
        "An owner, words of an error, metadata of the thread (key=value or JSON), or "
        "the beginning of the id of a run, a thread or an assistant"
    )
    ordering = ("-created_at", "-id")
    change_form_template = "console/run.html"
    operations = RUN_OPERATIONS

    # --- The list ---------------------------------------------------------------------
    def get_queryset(self, request: HttpRequest) -> QuerySet[Run]:
        runs: QuerySet[Run] = super().get_queryset(request)
        return runs.defer("kwargs", "given", "metadata", "user")

    def searched(self, term: str) -> Search:
        named = [Q(owner=term), *_of_assistants(term)]
        parts = [Q(status__in=Run.ENDED), Q(status__in=Run.ACTIVE)]
        found = [one & part for one in named for part in parts] + self.with_id(term)
        if (by_metadata := metadata_filter(term)) is not None:
            # Runs have the metadata of their thread, whose column has an index.
            threads = Thread.objects.filter(by_metadata).values("pk")
            return Search([*found, Q(thread__in=threads)])
        failed = Run.objects.failed_with(term).values_list("pk", flat=True)
        few = list(failed[: MAX_FOUND + 1])
        if len(few) <= MAX_FOUND:
            return Search([*found, Q(pk__in=few)])
        return Search([*found, _has_words(term)], FAILED, MAX_ERRORS_READ)

    @display(description="id")
    def short(self, run: Run) -> str:
        return short_id(run.pk)

    @display(label=COLOURS, ordering="status", description="status")
    def state(self, run: Run) -> str:
        return run.status

    @display(description="error")
    def failure(self, run: Run) -> str:
        if not run.error:
            return ""
        line = f"{run.error.get('error')}: {run.error.get('message')}".split("\n")[0]
        return line[:MAX_ERROR_LENGTH]

    @display(description="thread")
    def its_thread(self, run: Run) -> str:
        is_gone = run.is_temporary and not run.is_active
        if is_gone:
            return short_id(run.thread_id)
        return short_link("threads_thread", run.thread_id)

    def waited(self, run: Run) -> str:
        if run.started_at:
            return _seconds(run.started_at - run.created_at)
        return _seconds(timezone.now() - run.created_at) if run.is_active else "-"

    def took(self, run: Run) -> str:
        if not run.started_at:
            return "-"
        return _seconds((run.ended_at or timezone.now()) - run.started_at)

    # --- One run ----------------------------------------------------------------------
    def get_urls(self) -> list[URLPattern]:
        return [*self.part_urls(output=self.output_view), *super().get_urls()]

    def page_context(self, request: HttpRequest, row: Run) -> dict[str, Any]:
        may_act = self.has_act_permission(request)
        figures = run_page.figures(row, for_operator=may_act)
        if thread := figures.get("waiting_thread"):
            threads = self.admin_site.get_model_admin(Thread)
            figures |= {
                "may_act": threads.may(request, ANSWER),
                "answer_url": threads.operation_url(ANSWER, thread),
                "continue_url": threads.operation_url(CONTINUE, thread),
            }
        return {"title": f"Run {row.pk}", "subtitle": None, **figures}

    def output_view(self, request: HttpRequest, key: UUID) -> HttpResponse:
        """The values after the run's last step, which may be megabytes."""
        run = self.visible_row(request, key)
        hides = not self.has_act_permission(request)
        context = {"output": run_page.output(run, hides_secrets=hides)}
        return TemplateResponse(request, "console/run_output.html", context)


def _of_assistants(term: str) -> list[Q]:
    first, last = ids_from(term) or (None, None)
    if first == last:  # A whole id, perhaps of a deleted assistant.
        return [Q(assistant_id=first)] if first else []
    named = Assistant.objects.filter(pk__range=(first, last)).values_list("pk")
    return [Q(assistant_id=pk) for (pk,) in named[:MAX_ASSISTANTS]]


def _has_words(term: str) -> Q:
    """Match like `Run.objects.failed_with`, but without its index.

    That index is not ordered: for frequent words, Postgres would read all their runs.
    """
    parts = [KeyTextTransform(name, "error") for name in ("error", "message")]
    vector = SearchVector(*parts, config="simple", weight="A")
    query = SearchQuery(term, config="simple", search_type="websearch")
    return FAILED & Q(SearchVectorExact(vector, query))


def _seconds(duration: timedelta) -> str:
    return seconds(max(duration.total_seconds(), 0)).replace(" ", NO_BREAK)
