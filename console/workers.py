"""Workers for operators: what each executes, and draining one."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import Count, Exists, OuterRef, Q, QuerySet, Subquery, TextField
from django.db.models.functions import Cast, Coalesce
from django.http import HttpRequest
from django.template.defaultfilters import filesizeformat
from unfold.decorators import display

from spool.console.badges import COLOURS
from spool.console.markup import link_to_rows
from spool.console.operations import OperatedAdmin, Operation
from spool.runs import queue
from spool.runs.models import Pause, Run, Worker

# How many of its runs a worker's page lists.
MAX_RUNS = 100

DRAIN = Operation(
    "drain",
    "Drain",
    lambda worker, answers: queue.pause(Pause.Kind.WORKER, str(worker.pk)),
    done="drains",
    left="it is already draining",
    applies=lambda worker: worker.expired_at is None,
)
RESUME = Operation(
    "resume",
    "Resume",
    lambda worker, answers: queue.resume(Pause.Kind.WORKER, str(worker.pk)),
    done="resumed",
    left="it was not draining",
    applies=lambda worker: worker.drains,
)


def with_load(workers: QuerySet[Worker]) -> QuerySet[Any]:
    """Workers with the number of runs that each executes, and whether it drains."""
    # These subqueries use indexes. A join would read all runs that a worker ever had.
    running = Run.objects.running().filter(worker=OuterRef("pk")).order_by()
    counted = running.values("worker").annotate(count=Count("pk")).values("count")
    key = Cast(OuterRef("pk"), TextField())
    paused = Pause.objects.filter(kind=Pause.Kind.WORKER, name=key)
    return workers.annotate(
        running=Coalesce(Subquery(counted), 0), drains=Exists(paused)
    )


def state_of(worker: Any) -> str:
    """The state of a worker from `with_load`, annotated with `is_alive`."""
    if worker.expired_at:
        return "gone"
    if not worker.is_alive:
        return "silent"
    return "drains" if worker.drains else "alive"


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
class WorkerAdmin(OperatedAdmin):
    list_display = (
        "name",
        "state",
        "load",
        "memory",
        "heartbeat_at",
        "started_at",
        "expired_at",
        "its_runs",
    )
    list_filter = (AliveFilter,)
    search_fields = ("hostname",)
    search_help_text = "A host, or the beginning of a worker's id"
    search_ids = ("id",)
    ordering = ("-heartbeat_at", "-id")
    change_form_template = "console/worker.html"
    operations = (DRAIN, RESUME)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Worker]:
        workers = with_load(super().get_queryset(request))
        alive = Worker.objects.alive().values("pk")
        found: QuerySet[Worker] = workers.annotate(is_alive=Q(pk__in=alive))
        return found

    @display(description="host:pid")
    def name(self, worker: Worker) -> str:
        return str(worker)

    @display(label=COLOURS)
    def state(self, worker: Any) -> str:
        return state_of(worker)

    @display(description="slots taken")
    def load(self, worker: Any) -> str:
        return f"{worker.running} of {worker.capacity}"

    def memory(self, worker: Worker) -> str:
        return filesizeformat(worker.memory_bytes) if worker.memory_bytes else "-"

    @display(description="runs")
    def its_runs(self, worker: Worker) -> str:
        return link_to_rows("runs_run", "runs", worker=worker.pk)

    # --- One worker -------------------------------------------------------------------
    def page_context(self, request: HttpRequest, row: Any) -> dict[str, Any]:
        held = Run.objects.running().filter(worker=row.pk).order_by("started_at", "id")
        shown = held.defer("kwargs", "given", "metadata", "user", "error")[:MAX_RUNS]
        return {
            "title": f"Worker {row}",
            "subtitle": None,
            "worker": row,
            "state": state_of(row),
            "runs": shown,
            "left_out": max(row.running - MAX_RUNS, 0),
        }
