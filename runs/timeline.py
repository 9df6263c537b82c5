"""The timeline of a run: its attempts and their steps, as the API shows them.

Tracebacks are left out: they quote code and values, and are for operators only.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from django.utils import timezone
from rest_framework import serializers

from spool.runs.models import Run, RunAttempt, RunStep
from spool.usage.tokens import NO_TOKENS, Tokens
from spool.web.answers import FailureBody


class TokensBody(serializers.Serializer[Any]):
    calls = serializers.IntegerField()
    input = serializers.IntegerField()
    output = serializers.IntegerField()
    cached = serializers.IntegerField(help_text="Of `input`: read from a cache")
    cache_written = serializers.IntegerField(help_text="Of `input`")
    reasoning = serializers.IntegerField(help_text="Of `output`")


class ToolBody(serializers.Serializer[Any]):
    name = serializers.CharField()
    duration_ms = serializers.FloatField()
    outcome = serializers.CharField()


class StepBody(serializers.Serializer[Any]):
    number = serializers.IntegerField(
        help_text="From 0, in the order in which they began"
    )
    node = serializers.CharField()
    namespace = serializers.CharField(help_text="Of the subgraph; empty for the graph")
    task_id = serializers.CharField()
    started_at = serializers.DateTimeField()
    duration_ms = serializers.FloatField()
    outcome = serializers.ChoiceField(choices=RunStep.Outcome.choices)
    tokens = serializers.DictField(child=TokensBody(), help_text="By model")
    tools = ToolBody(many=True)
    error = FailureBody(allow_null=True)


class AttemptBody(serializers.Serializer[Any]):
    attempt = serializers.IntegerField()
    worker_id = serializers.UUIDField(allow_null=True)
    revision = serializers.CharField()
    started_at = serializers.DateTimeField()
    ended_at = serializers.DateTimeField(allow_null=True)
    outcome = serializers.ChoiceField(choices=[*RunAttempt.Outcome.choices, "running"])
    error = FailureBody(allow_null=True)
    tokens = serializers.DictField(child=TokensBody(), help_text="By model")
    step_count = serializers.IntegerField()
    steps = StepBody(many=True, help_text="The first and last ones, if there are many")


class TimelineBody(serializers.Serializer[Any]):
    run_id = serializers.UUIDField()
    thread_id = serializers.UUIDField()
    assistant_id = serializers.UUIDField()
    graph_id = serializers.CharField()
    run_class = serializers.CharField()
    status = serializers.ChoiceField(choices=Run.Status.choices)
    created_at = serializers.DateTimeField()
    started_at = serializers.DateTimeField(allow_null=True)
    ended_at = serializers.DateTimeField(allow_null=True)
    queue_ms = serializers.FloatField(
        allow_null=True, help_text="From its creation to its first attempt"
    )
    duration_ms = serializers.FloatField(
        allow_null=True, help_text="From its first attempt to its end, or until now"
    )
    error = FailureBody(allow_null=True)
    tokens = serializers.DictField(child=TokensBody(), help_text="By model")
    attempts = AttemptBody(many=True)


def timeline_of(run: Run) -> dict[str, Any]:
    """A `TimelineBody`: the record of the run, and its current attempt."""
    steps: dict[int, list[RunStep]] = defaultdict(list)
    for step in RunStep.objects.filter(run_id=run.pk).order_by("attempt", "number"):
        steps[step.attempt].append(step)
    of_run = RunAttempt.objects.filter(run_id=run.pk, attempt__gt=0)
    ended = of_run.order_by("attempt")
    attempts = [_attempt(attempt, steps[attempt.attempt]) for attempt in ended]
    if run.status == Run.Status.RUNNING:
        attempts.append(_present(run, steps[run.attempt]))
    now = run.ended_at or timezone.now()
    return {
        "run_id": run.id,
        "thread_id": run.thread_id,
        "assistant_id": run.assistant_id,
        "graph_id": run.graph_id,
        "run_class": run.run_class or "",
        "status": run.status,
        "created_at": run.created_at,
        "started_at": run.started_at,
        "ended_at": run.ended_at,
        "queue_ms": _ms(run.created_at, run.started_at),
        "duration_ms": _ms(run.started_at, now),
        "error": run.error,
        "tokens": _sum(attempt["tokens"] for attempt in attempts),
        "attempts": attempts,
    }


def _attempt(attempt: RunAttempt, steps: list[RunStep]) -> dict[str, Any]:
    count = attempt.steps
    if count is None:  # The attempt was lost: count the steps written before.
        count = max((step.number + 1 for step in steps), default=0)
    tokens = attempt.tokens
    return {
        "attempt": attempt.attempt,
        "worker_id": attempt.worker_id,
        "revision": attempt.revision,
        "started_at": attempt.started_at,
        "ended_at": attempt.ended_at,
        "outcome": attempt.outcome,
        "error": attempt.error,
        "tokens": _sum(s.tokens for s in steps) if tokens is None else tokens,
        "step_count": count,
        "steps": [_step(step) for step in steps],
    }


def _present(run: Run, steps: list[RunStep]) -> dict[str, Any]:
    """The current attempt, which has no row yet."""
    return {
        "attempt": run.attempt,
        "worker_id": run.worker_id,
        "revision": run.revision or "",
        "started_at": run.claimed_at or run.started_at,
        "ended_at": None,
        "outcome": "running",
        "error": None,
        "tokens": _sum(step.tokens for step in steps),
        "step_count": max((step.number + 1 for step in steps), default=0),
        "steps": [_step(step) for step in steps],
    }


def _step(step: RunStep) -> dict[str, Any]:
    return {
        "number": step.number,
        "node": step.node,
        "namespace": step.namespace,
        "task_id": step.task_id,
        "started_at": step.started_at,
        "duration_ms": step.duration_ms,
        "outcome": step.outcome,
        "tokens": step.tokens,
        "tools": step.tools,
        "error": step.error,
    }


def _sum(parts: Iterable[dict[str, dict[str, int]]]) -> dict[str, dict[str, int]]:
    """The sum of several dicts of tokens by model."""
    total: dict[str, Tokens] = {}
    for part in parts:
        for model, tokens in part.items():
            total[model] = total.get(model, NO_TOKENS) + Tokens(**tokens)
    return {model: tokens.as_json() for model, tokens in total.items()}


def _ms(since: datetime | None, until: datetime | None) -> float | None:
    if since is None or until is None:
        return None
    return round((until - since).total_seconds() * 1000, 3)
