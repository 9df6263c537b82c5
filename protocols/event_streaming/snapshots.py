"""Where a thread stands, for clients that missed events which are kept no longer."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.utils import timezone

from spool.database.json import dumps
from spool.protocols.event_streaming.envelopes import Envelope
from spool.protocols.event_streaming.forms import compact_json
from spool.runs.models import Run
from spool.runs.streaming.events import lifecycle_of
from spool.runs.streaming.modes import in_order_of_tasks
from spool.threads.models import Thread
from spool.threads.state import get_output


@dataclass(frozen=True)
class Standing:
    """`active` has the graphs of the runs that are not over."""

    created_at: datetime
    event_seq: int
    is_busy: bool
    is_paused: bool
    active: dict[UUID, str]


def standing(thread_id: UUID) -> Standing | None:
    """None: there is no such thread, or no longer."""
    threads = Thread.objects.filter(pk=thread_id, discarded_at=None)
    columns = ("created_at", "event_seq", "status", "resting_status")
    row = threads.values(*columns).first()
    if row is None:
        return None
    active = Run.objects.active().filter(thread=thread_id)
    is_busy = row["status"] == Thread.Status.BUSY
    return Standing(
        row["created_at"],
        row["event_seq"],
        is_busy,
        row["resting_status"] == Thread.Status.INTERRUPTED,
        dict(active.values_list("pk", "graph_id")) if is_busy else {},
    )


def snapshot(thread_id: UUID, before: int, *, with_end: bool = True) -> list[Envelope]:
    """Events that say where the thread stands, numbered to come just before `before`.

    `with_end`: also how its newest run ended, unless one is going on.
    """
    thread = Thread.objects.filter(pk=thread_id).first()
    if thread is None:
        return []
    told = [*_state(thread), *(_end(thread) if with_end else ())]
    first, now = before - len(told), int(timezone.now().timestamp() * 1000)
    return [
        Envelope(
            first + index,
            event_id or f"synth:{thread_id}:snapshot|{first + index}",
            channel,
            (),
            now,
            dumps(data),
        )
        for index, (channel, event_id, data) in enumerate(told)
    ]


def _state(thread: Thread) -> list[tuple[str, str, Any]]:
    told: list[tuple[str, str, Any]] = []
    if thread.values is not None and (graph_id := thread.metadata.get("graph_id")):
        told.append(("values", "", compact_json(get_output(thread, graph_id))))
    if thread.status != Thread.Status.BUSY:
        for one in in_order_of_tasks(thread.ordered_interrupts):
            value, interrupt_id = one.get("value"), one["id"]
            data = {"interrupt_id": interrupt_id, "payload": value, "value": value}
            told.append(("input", f"synth:{thread.pk}:input||{interrupt_id}", data))
    return told


def _end(thread: Thread) -> list[tuple[str, str, Any]]:
    if thread.status == Thread.Status.BUSY:
        return []
    run = thread.runs.newest_first().defer("kwargs", "given").first()
    if run is None:
        return []
    is_paused = thread.resting_status == Thread.Status.INTERRUPTED
    end = lifecycle_of(run.status, run.error, is_paused=is_paused)
    data = {"event": end["event"], "graph_name": run.graph_id, **end}
    return [("lifecycle", f"synth:{run.pk}:lc||{end['event']}", data)]
