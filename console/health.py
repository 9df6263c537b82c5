"""The overview's first sentences: whether all is well, or else the problems.

Each problem comes with advice, and with a link to the rows that it is about.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.db.models import Count, Q, QuerySet, Value
from django.db.models.functions import Now
from django.template.defaultfilters import pluralize
from django.urls import reverse
from django.utils import timezone
from django.utils.http import urlencode

from spool.assistants.models import Assistant
from spool.crons.models import Cron
from spool.runs import waiting
from spool.runs.figures import Failures, Outcomes, QueuePoint, Range
from spool.runs.models import Pause, Run
from spool.runs.periods import Counting
from spool.runs.recovery import LOST_ERROR
from spool.runs.waiting import Limit, Paused, Waiting
from spool.threads.models import Thread
from spool.usage.budgets import Standing
from spool.webhooks.models import WebhookDelivery

# A run that waits longer than this is a problem.
LONG_WAIT_SECS = 60
# A range is a problem if this number and this fraction of its runs, or more, failed.
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
class Link:
    text: str
    href: str


@dataclass(frozen=True, slots=True)
class Problem:
    """A sentence, a link to its rows, advice, and a page for following the advice."""

    text: str
    href: str
    advice: str
    see: Link | None = None


@dataclass(frozen=True, slots=True)
class Slots:
    """The number of live workers, and the slots of those that are not draining."""

    workers: int
    capacity: int
    taken: int
    draining: int = 0

    @property
    def are_full(self) -> bool:
        return self.taken >= self.capacity


def counts() -> Mapping[str, int]:
    """Count waiting and given up webhooks, and forgotten threads, in one statement."""
    parts: dict[str, QuerySet[Any]] = {
        "waiting": WebhookDelivery.objects.exclude(next_attempt_at=None),
        "given up": WebhookDelivery.objects.filter(
            next_attempt_at=None,
            delivered_at=None,
            created_at__gte=Now() - timedelta(days=1),
        ),
        "forgotten": Thread.objects.filter(FORGOTTEN),
    }
    first, *others = (
        rows.order_by().annotate(part=Value(name)).values_list("part")[:MAX_COUNTED]
        for name, rows in parts.items()
    )
    return Counter(name for (name,) in first.union(*others, all=True))


def problems(
    *,
    within: Range,
    queue: dict[str, QueuePoint],
    slots: Slots,
    paused: Mapping[Paused, Link],
    outcomes: Outcomes,
    failures: Sequence[Failures],
    crons: Sequence[Cron],
    counts: Mapping[str, int],
    budgets: Sequence[Standing],
) -> list[Problem]:
    """What an operator should look at, the most urgent problem first.

    `outcomes` and `failures` are those of the range `within`; `crons` fire next.
    """
    return [
        *_silent_tick(),
        *_waiting(queue, slots),
        *_held_back(paused),
        *_failing(within, outcomes, failures),
        *_given_up(within, failures),
        *_lost(within, outcomes),
        *_webhooks(counts["given up"]),
        *_crons(crons),
        *_interrupts(counts["forgotten"]),
        *_budgets(budgets),
    ]


def _silent_tick() -> Iterator[Problem]:
    counted = Counting.objects.values_list("counted_at", flat=True).first()
    if counted and timezone.now() - counted > SILENT_TICK:
        since = _age((timezone.now() - counted).total_seconds())
        yield Problem(
            f"The tick has not run for {since}.",
            _list("django_celery_beat_periodictask"),
            "Look at the logs of beat and of the workers: no schedule and no recovery "
            "works without it.",
        )


def _waiting(queue: dict[str, QueuePoint], slots: Slots) -> Iterator[Problem]:
    count = sum(one.waiting for one in queue.values())
    oldest = max((one.oldest_secs for one in queue.values()), default=0)
    is_long = oldest >= LONG_WAIT_SECS or not slots.workers
    if not count or not is_long:
        return
    free = waiting.not_paused()
    if free.waiting.oldest_secs < LONG_WAIT_SECS and slots.workers:
        return
    if free.waiting.count:
        why, advice, see = _why(slots, free.limit)
        text = f"{_wait(free.waiting)}: {why}."
        yield Problem(text, _list("runs_run", status__exact="pending"), advice, see)


def _held_back(paused: Mapping[Paused, Link]) -> Iterator[Problem]:
    for one, link in paused.items():
        if one.waiting.count:
            text = f"{_wait(one.waiting)}: {link.text} is paused."
            yield Problem(text, _held_rows(one), "They start when it is resumed.", link)


def with_links(paused: Iterable[Paused]) -> dict[Paused, Link]:
    """A link for each pause: its name, and the page where the pause can be ended."""
    ids = [one.name for one in paused if one.kind == Pause.Kind.ASSISTANT]
    found = Assistant.objects.filter(pk__in=ids).values_list("pk", "name")
    names = {str(pk): name for pk, name in found} if ids else {}
    return {
        one: Link(f"{one.kind} {names.get(one.name, one.name)}", _page_of(one))
        for one in paused
    }


def _page_of(paused: Paused) -> str:
    """The page where the pause is ended; for a graph, the list of its assistants.

    The page of any of them ends the graph's pause.
    """
    match paused.kind:
        case Pause.Kind.OWNER:
            return reverse("console-owner", args=[paused.name])
        case Pause.Kind.ASSISTANT:
            return reverse("admin:assistants_assistant_change", args=[paused.name])
        case _:
            return _list("assistants_assistant", q=paused.name)


def _held_rows(paused: Paused) -> str:
    """The URL of the list of runs that a pause holds back."""
    by = {"graph": paused.name} if paused.kind == "graph" else {"q": paused.name}
    return _list("runs_run", status__exact="pending", **by)


def _wait(waiting: Waiting) -> str:
    """A phrase such as `3 runs wait, the oldest for 7 min`."""
    count = waiting.count
    what = f"{count} run{pluralize(count)} wait{pluralize(count, 's,')}"
    return f"{what}, the oldest for {_age(waiting.oldest_secs)}"


def _why(slots: Slots, limit: Limit | None) -> tuple[str, str, Link | None]:
    """Why runs wait, advice, and a page for following the advice, if there is one."""
    if not slots.workers:
        return "no worker is alive", "Start one, and see the log of the last one.", None
    if slots.draining == slots.workers:
        drained = "the only worker" if slots.workers == 1 else "all workers"
        why = f"{drained} drain{pluralize(slots.workers, 's,')}"
        workers = Link("workers", _list("runs_worker", state="alive"))
        return why, "Resume one, or start another.", workers
    if slots.are_full:
        by_whom, owner = _by_whom(slots.taken)
        advice = "Start more workers, or cancel what runs too long."
        if owner:
            advice = "Start more workers, or pause or limit the owner."
        return f"all {slots.capacity} slots are taken{by_whom}", advice, _owner(owner)
    if limit:
        text = f"the limit of {limit.kind} {limit.name}, {limit.max_running} running"
        see = _owner(limit.name) if limit.kind == "owner" else None
        return f"{text}, is reached", "They start when others end.", see
    return (
        "they wait for earlier runs of their threads",
        "Cancel the earlier ones if they hang.",
        Link("running runs", _list("runs_run", status__exact="running")),
    )


def _owner(name: str) -> Link | None:
    return Link(name, reverse("console-owner", args=[name])) if name else None


def _by_whom(taken: int) -> tuple[str, str]:
    running = Run.objects.running().order_by().values("owner")
    first = running.annotate(count=Count("pk")).order_by("-count").first()
    if first is None or not first["owner"] or first["count"] * 2 < taken:
        return "", ""
    owner = first["owner"]
    return f", {first['count']} of {taken} by owner {owner}", owner


def _failing(
    within: Range, outcomes: Outcomes, failures: Sequence[Failures]
) -> Iterator[Problem]:
    if outcomes.failed < MANY_FAILED or outcomes.error_rate < HIGH_ERROR_RATE:
        return
    text = f"In {within.in_words}, {outcomes.failed} of {outcomes.ended} runs failed"
    if failures:
        worst = failures[0]
        where = f" in its node {worst.node}" if worst.node else ""
        text += (
            f", {worst.count} of them of graph {worst.graph_id} with "
            f"{worst.error}{where}"
        )
    failed = {"status__in": ",".join(Run.FAILED)}
    advice = "Open one for its traceback; run it again once the cause is repaired."
    yield Problem(f"{text}.", _list("runs_run", **failed), advice)


def _given_up(within: Range, failures: Sequence[Failures]) -> Iterator[Problem]:
    """Runs that were lost with each worker that tried: their input may kill workers."""
    lost = [one for one in failures if one.error == LOST_ERROR]
    if count := sum(one.count for one in lost):
        graphs = ", ".join(sorted({one.graph_id for one in lost})[:5])
        was = "run was" if count == 1 else "runs were"
        text = (
            f"In {within.in_words}, {count} {was} given up after each attempt lost its "
            f"worker: {graphs}."
        )
        failed = {"status__in": ",".join(Run.FAILED), "q": LOST_ERROR}
        advice = "Their input may crash a worker, or take all of its memory."
        yield Problem(text, _list("runs_run", **failed), advice)


def _lost(within: Range, outcomes: Outcomes) -> Iterator[Problem]:
    if count := outcomes.lost:
        was = (
            "attempt was lost with its"
            if count == 1
            else "attempts were lost with their"
        )
        yield Problem(
            f"In {within.in_words}, {count} {was} worker.",
            _list("runs_run", trouble="lost"),
            "Other workers continue the runs. The log of the lost worker says why it "
            "died, or the system's log if it ran out of memory.",
        )


def _webhooks(given_up: int) -> Iterator[Problem]:
    if given_up:
        was = "webhook was" if given_up == 1 else "webhooks were"
        yield Problem(
            f"In the last 24 hours, {up_to(given_up)} {was} given up.",
            _list("webhooks_webhookdelivery", state="given up"),
            "Open one for its receiver's response; send them again once that works.",
        )


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
    advice = "Beat sends the tick that fires them, and a worker executes it."
    yield Problem(text, _list("crons_cron", trouble="overdue"), advice)


def _interrupts(count: int) -> Iterator[Problem]:
    if count:
        threads = f"thread{pluralize(count, ' has,s have')}"
        text = f"{up_to(count)} {threads} waited for an answer "
        yield Problem(
            f"{text}for more than a day.",
            _list("threads_thread", waits="day"),
            "Answer them on their pages, or ask their owners to.",
        )


def up_to(count: int) -> str:
    """The text of a count, which is `1000 or more` from `MAX_COUNTED` on."""
    return f"{count}{' or more' if count >= MAX_COUNTED else ''}"


def _budgets(budgets: Sequence[Standing]) -> Iterator[Problem]:
    for one in budgets:
        if one.is_used_up:
            payer = payer_of(one)
            text = f"The budget of {payer.text} is used up: its new runs are refused."
            yield Problem(
                text, payer.href, "Raise it there, or wait for its next period."
            )


def payer_of(standing: Standing) -> Link:
    """The owner or the API key of a budget."""
    budget = standing.budget
    if budget.api_key_id is None:
        owner = reverse("console-owner", args=[budget.owner])
        return Link(f"owner {budget.owner}", owner)
    key = reverse("admin:access_apikey_change", args=[budget.api_key_id])
    return Link(f"API key {budget.api_key_id}", key)


def _age(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.0f} h"


def _list(page: str, **query: str) -> str:
    path = reverse(f"admin:{page}_changelist")
    return f"{path}?{urlencode(query)}" if query else path
