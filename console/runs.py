"""Runs and workers for operators: their state, errors, and actions such as cancel.

Rows are read-only. The actions call the same functions as the API.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import timedelta
from functools import partial
from typing import Any

from django.contrib import admin, messages
from django.db.models import Count, OuterRef, Q, QuerySet, Subquery
from django.db.models.functions import Coalesce
from django.http import HttpRequest
from django.utils import timezone
from unfold.decorators import display

from spool.assistants.graphs import registry
from spool.console.lists import ReadOnlyAdmin, document, ids_in, link, link_to_rows
from spool.runs import services
from spool.runs.models import Run, Worker

COLOURS = {
    Run.Status.PENDING: "info",
    Run.Status.RUNNING: "info",
    Run.Status.SUCCESS: "success",
    Run.Status.ERROR: "danger",
    Run.Status.TIMEOUT: "danger",
    Run.Status.INTERRUPTED: "warning",
    "alive": "success",
    "silent": "warning",
    "gone": "info",
}


admin.site.index_template = "console/dashboard.html"
admin.site.index_title = "Overview"


# --- Runs -------------------------------------------------------------------------
class GraphFilter(admin.SimpleListFilter):
    title = "graph"
    parameter_name = "graph"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Any:
        return [(graph_id, graph_id) for graph_id in registry().graph_ids]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Run]) -> Any:
        return queryset.filter(graph_id=self.value()) if self.value() else queryset


class WorkerFilter(admin.SimpleListFilter):
    title = "worker"
    parameter_name = "worker"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Any:
        alive = Worker.objects.alive().order_by("hostname", "pid")
        return [(str(worker.id), str(worker)) for worker in alive]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Run]) -> Any:
        known = Worker.objects.filter(pk__in=ids_in(self.value()))
        return queryset.filter(worker__in=known) if self.value() else queryset


@admin.register(Run)
class RunAdmin(ReadOnlyAdmin):
    list_display = (
        "id",
        "state",
        "graph_id",
        "owner",
        "thread_id",
        "worker",
        "attempt",
        "waited",
        "took",
        "failure",
        "created_at",
    )
    list_filter = ("status", GraphFilter, WorkerFilter)
    list_select_related = ("worker",)
    search_fields = ("owner",)
    search_ids = ("id", "thread_id", "assistant_id")
    search_help_text = "An owner, or the id of a run, a thread or an assistant"
    ordering = ("-created_at", "-id")
    fields = readonly_fields = (
        "id",
        "state",
        "failure",
        "cancel_action",
        "graph_id",
        "its_assistant",
        "its_thread",
        "owner",
        "multitask_strategy",
        "is_temporary",
        "worker",
        "attempt",
        "losses",
        "created_at",
        "dispatched_at",
        "started_at",
        "ended_at",
        "waited",
        "took",
        "kwargs_text",
        "metadata_text",
        "user_text",
    )
    kwargs_text = document("kwargs")
    metadata_text = document("metadata")
    user_text = document("user")
    actions = ("cancel", "roll_back", "requeue")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Run]:
        runs: QuerySet[Run] = super().get_queryset(request)
        return runs.defer("kwargs", "given", "metadata", "user")

    @display(label=COLOURS, ordering="status")
    def state(self, run: Run) -> str:
        return run.status

    @display(description="error")
    def failure(self, run: Run) -> str:
        if not run.error:
            return ""
        return f"{run.error.get('error')}: {run.error.get('message')}"[:500]

    @display(description="assistant")
    def its_assistant(self, run: Run) -> str:
        return link("assistants_assistant", run.assistant_id)

    @display(description="thread")
    def its_thread(self, run: Run) -> str:
        is_gone = run.is_temporary and not run.is_active
        return str(run.thread_id) if is_gone else link("threads_thread", run.thread_id)

    @display(description="waited")
    def waited(self, run: Run) -> str:
        if run.started_at:
            return _seconds(run.started_at - run.created_at)
        return _seconds(timezone.now() - run.created_at) if run.is_active else "-"

    @display(description="took")
    def took(self, run: Run) -> str:
        if not run.started_at:
            return "-"
        return _seconds((run.ended_at or timezone.now()) - run.started_at)

    @admin.action(description="Cancel", permissions=["act"])
    def cancel(self, request: HttpRequest, runs: Iterable[Run]) -> None:
        stop = partial(services.cancel_run, action=Run.CancelAction.INTERRUPT)
        self._each(request, runs, stop, "cancelled", "it has ended already")

    @admin.action(description="Cancel and roll back", permissions=["act"])
    def roll_back(self, request: HttpRequest, runs: Iterable[Run]) -> None:
        stop = partial(services.cancel_run, action=Run.CancelAction.ROLLBACK)
        self._each(request, runs, stop, "rolled back", "it has ended already")

    @admin.action(description="Queue again", permissions=["act"])
    def requeue(self, request: HttpRequest, runs: Iterable[Run]) -> None:
        """Wake a worker for a waiting run; create a new run for one that has ended."""
        why_not = "it is running, or its thread is gone"
        self._each(request, runs, services.requeue_run, "queued again", why_not)

    def _each(
        self,
        request: HttpRequest,
        runs: Iterable[Run],
        act: Callable[[Run], object],
        done: str,
        why_not: str,
    ) -> None:
        count = 0
        for run in runs:
            if act(run):
                self.log_change(request, run, done)
                count += 1
            else:
                self.message_user(request, f"{run}: {why_not}", messages.WARNING)
        if count:
            self.message_user(request, f"{count} runs: {done}.")


def _seconds(duration: timedelta) -> str:
    return f"{max(duration.total_seconds(), 0):.3f} s"


# --- Workers ----------------------------------------------------------------------
class AliveFilter(admin.SimpleListFilter):
    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Any:
        return [("alive", "alive"), ("gone", "gone")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Worker]) -> Any:
        alive = Worker.objects.alive().values("pk")
        if self.value() == "alive":
            return queryset.filter(pk__in=alive)
        return queryset.exclude(pk__in=alive) if self.value() else queryset


@admin.register(Worker)
class WorkerAdmin(ReadOnlyAdmin):
    list_display = fields = readonly_fields = (
        "name",
        "state",
        "load",
        "heartbeat_at",
        "started_at",
        "expired_at",
        "its_runs",
    )
    list_filter = (AliveFilter,)
    search_fields = ("hostname",)
    search_ids = ("id",)
    ordering = ("-heartbeat_at", "-id")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Worker]:
        workers: QuerySet[Worker] = super().get_queryset(request)
        # Subqueries that use indexes. A join would read all runs the worker ever had.
        running = Run.objects.running().filter(worker=OuterRef("pk")).order_by()
        counted = running.values("worker").annotate(count=Count("pk")).values("count")
        return workers.annotate(
            running=Coalesce(Subquery(counted), 0),
            is_alive=Q(pk__in=Worker.objects.alive().values("pk")),
        )

    def name(self, worker: Worker) -> str:
        return str(worker)

    @display(label=COLOURS)
    def state(self, worker: Any) -> str:
        if worker.expired_at:
            return "gone"
        return "alive" if worker.is_alive else "silent"

    def load(self, worker: Any) -> str:
        return f"{worker.running} of {worker.capacity}"

    @display(description="runs")
    def its_runs(self, worker: Worker) -> str:
        return link_to_rows("runs_run", "runs", worker=worker.pk)
