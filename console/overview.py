"""The admin's first page: what runs, what waits and why, and failures in groups.

Charts read the rows of `runs.periods`, whose number doesn't grow with that of runs; all
other figures are counts by an index, up to a limit.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.http import urlencode
from django.utils.safestring import SafeString

from spool.console import health
from spool.console.charts import Series, stacked_bars
from spool.console.workers import with_load
from spool.crons.models import Cron
from spool.runs import figures, waiting
from spool.runs.figures import Failures, Outcomes, Point, QueuePoint, Range
from spool.runs.models import Run, Worker
from spool.runs.periods import RunFailure
from spool.usage.budgets import nearest_to_limit
from spool.usage.models import UsageTotal
from spool.usage.report import report

MAX_FAILURES = 10
MAX_GRAPHS = 20
MAX_TABLES = 8
MAX_CRONS = 5
MAX_WORKERS = 20
MAX_BUDGETS = 5
RUN_CLASSES = {"interactive": "good", "background": "info", "cron": "warn"}


def add_range(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """Add the chosen range and its figures, for `console/overview.html`."""
    if request.user.has_perm("runs.view_run"):
        context |= {"shown": _range(request).label, **parts(_range(request))}
        context["ranges"] = [each.label for each in Range]
    return context


def overview_view(request: HttpRequest) -> HttpResponse:
    """The part of the page that is loaded again every few seconds."""
    if not request.user.has_perm("runs.view_run"):
        raise PermissionDenied
    context = parts(_range(request))
    return TemplateResponse(request, "console/overview_parts.html", context)


def parts(within: Range) -> dict[str, Any]:
    """The context of `console/overview_parts.html`."""
    points, graphs = figures.over_time_and_by_graph(within)
    failures = figures.failures(within)
    queue = figures.queue_now()
    workers = _workers()
    slots = _slots(workers)
    paused = health.with_links(waiting.paused())
    crons = _crons()
    counts = health.counts()
    budgets = nearest_to_limit(MAX_BUDGETS)
    tables = figures.table_sizes(within)
    outcomes = _sum(points)
    today = report(UsageTotal.objects.filter(day=timezone.now().date()), [])
    return {
        "now": timezone.now(),
        "range": within.in_words,
        "problems": health.problems(
            within=within,
            queue=queue,
            slots=slots,
            paused=paused,
            outcomes=outcomes,
            failures=failures,
            crons=crons,
            counts=counts,
            budgets=budgets,
        ),
        "paused": [link for one, link in paused.items() if not one.waiting.count],
        "slots": slots,
        "running": sum(one.running for one in queue.values()),
        "queue": [queue[run_class] for run_class in RUN_CLASSES],
        "outcomes": outcomes,
        "runs_chart": runs_chart(points),
        "queue_chart": _queue_chart(within, figures.queue_over_time(within)),
        "graphs": graphs[:MAX_GRAPHS],
        "failures": [_failure(one) for one in failures[:MAX_FAILURES]],
        "workers": workers[:MAX_WORKERS],
        "tables": tables[:MAX_TABLES],
        "database": {
            "bytes": sum(one.bytes for one in tables),
            "growth": sum(one.growth for one in tables),
        },
        "crons": crons,
        "late": timezone.now() - health.LATE_CRON,
        "webhooks_waiting": counts["waiting"],
        "webhooks_waiting_text": health.up_to(counts["waiting"]),
        "webhooks_given_up": health.up_to(counts["given up"]),
        "bar_secs": within.step.total_seconds(),
        "today": today,
        "budgets": [
            {"standing": one, "payer": health.payer_of(one)} for one in budgets
        ],
    }


def _range(request: HttpRequest) -> Range:
    return Range.named(request.GET.get("range", ""))


def _workers() -> list[Any]:
    """Live workers, each with the number of runs that it executes."""
    alive = with_load(Worker.objects.alive())
    return list(alive.order_by("hostname", "pid"))


def _slots(workers: list[Any]) -> health.Slots:
    taking = [worker for worker in workers if not worker.drains]
    return health.Slots(
        workers=len(workers),
        capacity=sum(worker.capacity for worker in taking),
        taken=sum(worker.running for worker in taking),
        draining=len(workers) - len(taking),
    )


def _crons() -> list[Cron]:
    """Crons that fire next, late ones first."""
    enabled = Cron.objects.filter(enabled=True).defer("payload", "given", "metadata")
    return list(enabled.order_by("next_run_date")[:MAX_CRONS])


def _sum(points: list[Point]) -> Outcomes:
    names = Outcomes.__dataclass_fields__
    return Outcomes(
        **{name: sum(getattr(one.outcomes, name) for one in points) for name in names}
    )


def runs_chart(points: list[Point]) -> SafeString:
    """Runs that ended, by outcome."""
    outcomes = [point.outcomes for point in points]
    return stacked_bars(
        [point.start for point in points],
        [
            Series("succeeded", "good", [one.success for one in outcomes]),
            Series("interrupted", "warn", [one.interrupted for one in outcomes]),
            Series("rolled back", "info", [one.rolled_back for one in outcomes]),
            Series("failed", "bad", [one.failed for one in outcomes]),
        ],
    )


def _queue_chart(within: Range, points: list[QueuePoint]) -> SafeString:
    starts = within.starts()
    waiting: dict[str, dict[Any, int]] = defaultdict(dict)
    for point in points:
        waiting[point.run_class][point.start] = point.waiting
    return stacked_bars(
        starts,
        [
            Series(
                run_class,
                css_class,
                [waiting[run_class].get(start, 0) for start in starts],
            )
            for run_class, css_class in RUN_CLASSES.items()
        ],
        whole=max,
    )


def _failure(failures: Failures) -> dict[str, Any]:
    """A group of failures, and the URL of the list of its runs."""
    query = {"status__in": ",".join(Run.FAILED), "graph": failures.graph_id}
    if failures.error != RunFailure.OTHER:
        query["error"] = failures.error
    path = reverse("admin:runs_run_changelist")
    return {"group": failures, "href": f"{path}?{urlencode(query)}"}
