"""The place of a run in its trace: span ids of attempts, and spans of lost attempts.

The id of an attempt's span is computed from the run, so that the tick can export the
span of an attempt whose worker died: the spans of its nodes may already have been
exported as children of this id.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any, Protocol
from uuid import UUID

from spool.runs.models import Run, RunAttempt
from spool.telemetry import traces
from spool.telemetry.traces import Past


class Traced(Protocol):
    """A run, or a claim of one."""

    @property
    def id(self) -> UUID: ...
    @property
    def thread_id(self) -> UUID: ...
    @property
    def assistant_id(self) -> UUID: ...
    @property
    def graph_id(self) -> str: ...


def span_id_of(run_id: UUID, attempt: int) -> int:
    digest = hashlib.sha256(f"{run_id}:{attempt}".encode()).digest()
    return int.from_bytes(digest[:8], "big") or 1


def about_attempt(run: Traced, attempt: int) -> dict[str, Any]:
    return {
        "gen_ai.operation.name": "invoke_agent",
        "gen_ai.agent.name": run.graph_id,
        "gen_ai.agent.id": str(run.assistant_id),
        "gen_ai.conversation.id": str(run.thread_id),
        "spool.run.id": str(run.id),
        "spool.run.attempt": attempt,
    }


def record_lost(run_ids: Sequence[UUID]) -> None:
    """Export the spans of the last attempts of these runs, whose worker died."""
    if not traces.is_on() or not run_ids:
        return
    runs = Run.objects.in_bulk(list(run_ids))
    rows = RunAttempt.objects.filter(run_id__in=run_ids).order_by("attempt")
    for attempt in {row.run_id: row for row in rows}.values():
        if run := runs.get(attempt.run_id):
            traces.record(
                Past(
                    f"invoke_agent {run.graph_id}",
                    attempt.started_at,
                    attempt.ended_at,
                    run.trace_context,
                    about_attempt(run, attempt.attempt),
                    span_id=span_id_of(run.id, attempt.attempt),
                    error="WorkerLost: the worker of this attempt is gone",
                )
            )
