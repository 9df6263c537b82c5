"""The overview's first sentences: whether all is well, or what is not and where to look."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.db.models import Count, Q
from django.db.models.functions import Now
from django.template.defaultfilters import pluralize
from django.urls import reverse
from django.utils import timezone
from django.utils.http import urlencode

from spool.crons.models import Cron
from spool.runs.figures import Failures, Outcomes, QueuePoint
from spool.runs.models import Pause, Run
from spool.runs.periods import Counting
from spool.runs.recovery import LOST_ERROR
from spool.threads.models import Thread
from spool.webhooks.models import WebhookDelivery

# A run that waits longer than this is trouble.
LONG_WAIT_SECS = 60
# So is a range in which at least so many runs, and this part of them, failed.
MANY_FAILED, HIGH_ERROR_RATE = 3, 0.1
# Beat sends the tick every second.
SILENT_TICK = timedelta(minutes=1)
LATE_CRON = timedelta(seconds=30)
LONG_INTERRUPT = timedelta(days=1)
# Rows are counted up to this number.
MAX_COUNTED = 1_000


# Threads that have waited for an answer for so long.
FORGOTTEN = Q(
    status=Thread.Status.INTERRUPTED,
    discarded_at=None,
    created_at__lt=Now() - LONG_INTERRUPT,
    state_updated_at__lt=Now() - LONG_INTERRUPT,
)


@dataclass(frozen=True, slots=True)
class Problem:
    """A sentence, the page that it leads to, and the owner whose page helps, too."""

    text: str
    href: str
    owner: str = ""


@dataclass(frozen=True, slots=True)
class Slots:
    """The workers that are alive, and how many of their slots are taken."""

    workers: int
    capacity: int
    taken: int

    @property
    def are_full(self) -> bool:
        return self.taken >= self.capacity


def problems(
    *,
    queue: dict[str, QueuePoint],
    slots: Slots,
    outcomes: Outcomes,
    failures: Sequence[Failures],
    crons: Sequence[Cron],
) -> list[Problem]:
    """What an operator should look at, the most urgent first.

    `crons` are those that fire next.
    """
    return [
        *_silent_tick(),
        *_waiting(queue, slots),
        *_failing(outcomes, failures),
        *_given_up(failures),
        *_lost(outcomes),
        *_webhooks(),
        *_crons(crons),
        *_interrupts(),
    ]


def _silent_tick() -> Iterator[Problem]:
    counted = Counting.objects.values_list("counted_at", flat=True).first()
    if counted and timezone.now() - counted > SILENT_TICK:
        since = _age((timezone.now() - counted).total_seconds())
        text = f"The tick has not run for {since}: look at beat and at the workers."
        yield Problem(text, _list("django_celery_beat_periodictask"))


def _waiting(queue: dict[str, QueuePoint], slots: Slots) -> Iterator[Problem]:
    waiting = sum(one.waiting for one in queue.values())
    oldest = max((one.oldest_secs for one in queue.values()), default=0)
    if not waiting or (oldest < LONG_WAIT_SECS and slots.workers):
        return
    what = f"{waiting} run{pluralize(waiting)} wait{pluralize(waiting, 's,')}"
    why, owner = _why(slots)
    text = f"{what}, the oldest for {_age(oldest)}: {why}."
    yield Problem(text, _list("runs_run", status__exact="pending"), owner)


def _why(slots: Slots) -> tuple[str, str]:
    """Why runs wait, and the owner who has most of the slots, if one has."""
    if not slots.workers:
        return "no worker is alive", ""
    if slots.are_full:
        by_whom, owner = _by_whom(slots.taken)
        return f"all {slots.capacity} slots are taken{by_whom}", owner
    paused = [f"{pause.kind} {pause.name}" for pause in Pause.objects.all()[:5]]
    if paused:
        return f"paused: {', '.join(paused)}", ""
    return "they wait for earlier runs of their threads, or a limit holds them back", ""


def _by_whom(taken: int) -> tuple[str, str]:
    running = Run.objects.running().order_by().values("owner")
    first = running.annotate(count=Count("pk")).order_by("-count").first()
    if first is None or not first["owner"] or first["count"] * 2 < taken:
        return "", ""
    owner = first["owner"]
    return f", {first['count']} of {taken} by owner {owner}", owner


def _failing(outcomes: Outcomes, failures: Sequence[Failures]) -> Iterator[Problem]:
    if outcomes.failed < MANY_FAILED or outcomes.error_rate < HIGH_ERROR_RATE:
        return
    text = f"{outcomes.failed} of {outcomes.ended} runs failed"
    if failures:
        worst = failures[0]
        where = f" in its node {worst.node}" if worst.node else ""
        text += (
            f", {worst.count} of them of graph {worst.graph_id} with "
            f"{worst.error}{where}"
        )
    failed = {"status__in": ",".join(Run.FAILED)}
    yield Problem(f"{text}.", _list("runs_run", **failed))


def _given_up(failures: Sequence[Failures]) -> Iterator[Problem]:
    """Runs that were lost with each worker that tried: their input may kill workers."""
    lost = [one for one in failures if one.error == LOST_ERROR]
    if count := sum(one.count for one in lost):
        graphs = ", ".join(sorted({one.graph_id for one in lost})[:5])
        was = "run was" if count == 1 else "runs were"
        text = f"{count} {was} given up after each attempt lost its worker: {graphs}."
        failed = {"status__in": ",".join(Run.FAILED), "q": LOST_ERROR}
        yield Problem(text, _list("runs_run", **failed))


def _lost(outcomes: Outcomes) -> Iterator[Problem]:
    if count := outcomes.lost:
        was = (
            "attempt was lost with its"
            if count == 1
            else "attempts were lost with their"
        )
        yield Problem(f"{count} {was} worker.", _list("runs_run", trouble="lost"))


def _webhooks() -> Iterator[Problem]:
    since = Now() - timedelta(days=1)
    given_up = WebhookDelivery.objects.filter(
        next_attempt_at=None, delivered_at=None, created_at__gte=since
    )
    if count := _counted(given_up):
        was = "webhook was" if count == 1 else "webhooks were"
        text = f"{count} {was} given up within a day."
        yield Problem(text, _list("webhooks_webhookdelivery", state="given up"))


def _crons(crons: Sequence[Cron]) -> Iterator[Problem]:
    due = timezone.now() - LATE_CRON
    late = [one for one in crons if one.next_run_date and one.next_run_date < due]
    if not late:
        return
    count = len(late)
    if count == len(crons) > 1:  # There may be more.
        text = f"{count} or more crons are late."
    else:
        text = f"{count} cron{pluralize(count, ' is,s are')} late."
    yield Problem(text, _list("crons_cron", trouble="overdue"))


def _interrupts() -> Iterator[Problem]:
    if count := _counted(Thread.objects.filter(FORGOTTEN)):
        text = f"{count} thread{pluralize(count, ' has,s have')} waited for an answer "
        yield Problem(
            f"{text}for more than a day.", _list("threads_thread", waits="day")
        )


def _counted(rows: Any) -> int:
    return int(rows.order_by().values("pk")[:MAX_COUNTED].count())


def _age(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.0f} h"


def _list(page: str, **query: str) -> str:
    path = reverse(f"admin:{page}_changelist")
    return f"{path}?{urlencode(query)}" if query else path
