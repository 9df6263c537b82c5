"""The contents of a run's page: a timeline of its attempts, its error and its input."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.conf import settings
from django.utils import timezone
from django.utils.safestring import SafeString

from spool.assistants.models import Assistant
from spool.console import thread_page, tracebacks
from spool.console.badges import css_class
from spool.console.lists import ids_in
from spool.console.markup import as_text
from spool.console.redaction import without_secrets
from spool.console.tracebacks import Traceback
from spool.crons.models import Cron
from spool.runs.models import Run, RunAttempt, RunStep, Worker
from spool.runs.recovery import LOST_ERROR
from spool.runs.timeline import timeline_of
from spool.threads.models import Thread
from spool.threads.state import get_history
from spool.web.errors import Unprocessable
from spool.webhooks.models import WebhookDelivery


@dataclass(frozen=True, slots=True)
class Bar:
    """A step's line in the timeline. `left` and `width` are percents of its attempt."""

    step: dict[str, Any]
    depth: int
    left: float
    width: float
    css_class: str
    traceback: str


@dataclass(frozen=True, slots=True)
class Attempt:
    data: dict[str, Any]
    worker: str
    duration_ms: float
    bars: list[Bar]
    traceback: str

    @property
    def left_out(self) -> int:
        """How many steps between the first and the last ones were not kept."""
        return int(self.data["step_count"]) - len(self.bars)


def figures(run: Run, *, for_operator: bool) -> dict[str, Any]:
    """The context of `console/run.html`. Only operators see tracebacks and secrets."""
    timeline = timeline_of(run)
    tracebacks = _tracebacks(run) if for_operator else {}
    workers = _workers(timeline["attempts"])
    attempts = [
        _attempt(attempt, workers, tracebacks) for attempt in timeline["attempts"]
    ]
    failed = _failed_step(attempts)
    return {
        "run": run,
        "timeline": timeline,
        "attempts": attempts,
        "failed_step": failed,
        "traceback": _newest_traceback(attempts, failed),
        "run_tokens": sorted(timeline["tokens"].items()),
        "given": _given(run, hides_secrets=not for_operator),
        "is_lost": bool(run.error) and run.error.get("error") == LOST_ERROR,
        "logs": settings.SPOOL_HOME / "logs",
        "assistant": _assistant_name(run),
        **_thread_of(run, hides_secrets=not for_operator),
        "cron_id": _cron_id(run),
        "deliveries": list(
            WebhookDelivery.objects.filter(run_id=run.pk)
            .defer("payload", "recorded", "sent_bodies")
            .order_by("created_at")
        ),
    }


def output(run: Run, *, hides_secrets: bool) -> SafeString | None:
    """The values after the run's last step; None if they were not saved, or deleted."""
    thread = _thread(run)
    if thread is None:
        return None
    try:
        states = get_history(thread, limit=1, metadata={"run_id": str(run.pk)})
    except Unprocessable:  # The graph is no longer served.
        return None
    if not states:
        return None
    return as_text(states[0].values, hides_secrets=hides_secrets)


def _thread(run: Run) -> Thread | None:
    """The run's thread. None if it is gone: a stateless run deletes it at its end."""
    if run.is_temporary and not run.is_active:
        return None
    return Thread.objects.filter(pk=run.thread_id).defer("values").first()


def _thread_of(run: Run, *, hides_secrets: bool) -> dict[str, Any]:
    """Whether the thread exists, and what it waits for if this run is its newest."""
    thread = _thread(run)
    if thread is None or thread.status != Thread.Status.INTERRUPTED:
        return {"has_thread": thread is not None}
    newest = Run.objects.filter(thread=thread.pk).newest_first().values_list("pk")
    if newest.first() != (run.pk,):
        return {"has_thread": True}
    waits = thread_page.waits_for(thread, hides_secrets=hides_secrets)
    return {"has_thread": True, "waiting_thread": thread, **waits}


def _assistant_name(run: Run) -> str | None:
    named = Assistant.objects.filter(pk=run.assistant_id)
    return named.values_list("name", flat=True).first()


def _cron_id(run: Run) -> UUID | None:
    """The id of the cron that fired the run, if that cron still exists."""
    config = run.kwargs.get("config") or {}
    named = (config.get("configurable") or {}).get("cron_id")
    return next((i for i in ids_in(named) if Cron.objects.filter(pk=i).exists()), None)


def _given(run: Run, *, hides_secrets: bool) -> list[tuple[str, SafeString]]:
    """The documents of a run, in the order in which an operator reads them."""
    named = {name: run.kwargs.get(name) for name in ("input", "command")}
    rest = {name: value for name, value in run.kwargs.items() if name not in named}
    parts = [
        ("Input", named["input"]),
        ("Command", named["command"]),
        ("Settings", rest),
        ("Metadata", run.metadata),
        ("User", run.user),
    ]
    return [
        (title, as_text(value, hides_secrets=hides_secrets))
        for title, value in parts
        if value is not None
    ]


def _tracebacks(run: Run) -> dict[tuple[int, int | None], str]:
    """Tracebacks by attempt and step number; None for the attempt's own traceback."""
    attempts = RunAttempt.objects.filter(run_id=run.pk).exclude(traceback="")
    steps = RunStep.objects.filter(run_id=run.pk).exclude(traceback="")
    found: dict[tuple[int, int | None], str] = {}
    for attempt, text in attempts.values_list("attempt", "traceback"):
        found[attempt, None] = without_secrets(text)
    for attempt, number, text in steps.values_list("attempt", "number", "traceback"):
        found[attempt, number] = without_secrets(text)
    return found


def _workers(attempts: list[dict[str, Any]]) -> dict[UUID, str]:
    ids = {attempt["worker_id"] for attempt in attempts if attempt["worker_id"]}
    return {worker.pk: str(worker) for worker in Worker.objects.filter(pk__in=ids)}


def _attempt(
    attempt: dict[str, Any],
    workers: dict[UUID, str],
    tracebacks: dict[tuple[int, int | None], str],
) -> Attempt:
    number = attempt["attempt"]
    begin: datetime = attempt["started_at"]
    end = attempt["ended_at"] or timezone.now()
    whole = max(
        _ms(end - begin), *(_end_of(step, begin) for step in attempt["steps"]), 1
    )
    bars = [
        Bar(
            step=step,
            depth=step["namespace"].count("|") + 1 if step["namespace"] else 0,
            left=min(max(100 * _ms(step["started_at"] - begin) / whole, 0), 99.5),
            width=max(100 * step["duration_ms"] / whole, 0.5),
            css_class=css_class(step["outcome"]),
            traceback=tracebacks.get((number, step["number"]), ""),
        )
        for step in sorted(attempt["steps"], key=lambda step: step["number"])
    ]
    worker = workers.get(attempt["worker_id"], "")
    own = tracebacks.get((number, None), "")
    return Attempt(attempt, worker, _ms(end - begin), bars, own)


def _end_of(step: dict[str, Any], begin: datetime) -> float:
    return _ms(step["started_at"] - begin) + float(step["duration_ms"])


def _failed_step(attempts: list[Attempt]) -> Bar | None:
    """The innermost step that raised the error of the last attempt."""
    if not attempts or attempts[-1].data["outcome"] not in ("error", "timeout"):
        return None
    failed = [bar for bar in attempts[-1].bars if bar.step["outcome"] == "error"]
    return max(failed, key=lambda bar: bar.depth, default=None)


def _newest_traceback(attempts: list[Attempt], failed: Bar | None) -> Traceback | None:
    """The traceback of the step that raised the run's error, or of the last attempt."""
    found = (failed and failed.traceback) or (attempts and attempts[-1].traceback)
    return tracebacks.read(found) if found else None


def _ms(duration: timedelta) -> float:
    return duration.total_seconds() * 1000
