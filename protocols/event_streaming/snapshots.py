"""Where a thread stands, for clients that missed events which are no longer kept."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.utils import timezone

from spool.access.scope import EVERYTHING, OWNED, Scope
from spool.database.json import dumps
from spool.database.prepared import fetch_all
from spool.protocols.event_streaming.envelopes import Envelope
from spool.protocols.event_streaming.forms import compact_json, written
from spool.runs.lifecycle import SEQS_OF_ATTEMPT
from spool.runs.models import Run
from spool.runs.streaming.events import lifecycle_of
from spool.runs.streaming.modes import in_order_of_tasks
from spool.threads.models import Thread
from spool.threads.state import get_live_output, get_output


@dataclass(frozen=True)
class Standing:
    """Where a thread stands. `active` maps the ids of active runs to their graphs.

    `event_seq` is the number of the thread's last event when its last run ended, and
    `max_seq` the highest number that an event may have by now.
    """

    created_at: datetime
    event_seq: int
    max_seq: int
    is_busy: bool
    is_paused: bool
    active: dict[UUID, str]


# A thread, with a row for each of its active runs.
STANDING = f"""
SELECT thread.created_at, event_seq, thread.status, resting_status,
    runs.id, runs.graph_id, runs.attempt
FROM (
    SELECT * FROM threads
    WHERE id = %(thread_id)s::uuid AND discarded_at IS NULL AND {OWNED}
) AS thread
LEFT JOIN runs ON runs.thread_id = thread.id AND runs.status IN ('pending', 'running')
"""


def standing(thread_id: UUID, scope: Scope = EVERYTHING) -> Standing | None:
    """Where a thread stands; None if it doesn't exist or is not visible in `scope`."""
    if not scope.is_plain:
        if not Thread.objects.visible_to(scope).filter(pk=thread_id).exists():
            return None
        scope = EVERYTHING
    found = fetch_all(STANDING, {"thread_id": thread_id, **scope.params})
    if not found:
        return None
    created_at, event_seq, status, resting_status, *_ = found[0]
    runs = [row[4:] for row in found if row[4]]
    attempts = max((attempt for _, _, attempt in runs), default=0)
    return Standing(
        created_at,
        event_seq,
        event_seq + attempts * SEQS_OF_ATTEMPT,
        is_busy=status == Thread.Status.BUSY,
        is_paused=resting_status == Thread.Status.INTERRUPTED,
        active={run_id: graph_id for run_id, graph_id, _ in runs},
    )


def snapshot(
    thread_id: UUID, before: int, *, with_end: bool = True, until: str = ""
) -> list[Envelope]:
    """Events that say where the thread stands, numbered to come just before `before`.

    `with_end`: also how its newest run ended. `until` is the id of a run whose events
    follow the snapshot: the newest run is then one before it. Empty: any run.
    """
    thread = Thread.objects.filter(pk=thread_id).first()
    if thread is None:
        return []
    events = [*_state(thread), *(_end(thread, until) if with_end else ())]
    first, now = before - len(events), int(timezone.now().timestamp() * 1000)
    return [
        Envelope(
            first + index,
            event_id or f"synth:{thread_id}:snapshot|{first + index}",
            channel,
            (),
            now,
            dumps(data),
        )
        for index, (channel, event_id, data) in enumerate(events)
    ]


def _state(thread: Thread) -> list[tuple[str, str, Any]]:
    events: list[tuple[str, str, Any]] = []
    if (values := _values(thread)) is not None:
        events.append(("values", "", written(compact_json(values))))
    if thread.status != Thread.Status.BUSY:
        for one in in_order_of_tasks(thread.ordered_interrupts):
            value, interrupt_id = one.get("value"), one["id"]
            data = {"interrupt_id": interrupt_id, "payload": value, "value": value}
            events.append(("input", f"synth:{thread.pk}:input||{interrupt_id}", data))
    return events


def _values(thread: Thread) -> Any:
    """The thread's output; while a run is active, from its newest checkpoint."""
    graph_id = thread.metadata.get("graph_id")
    if thread.status == Thread.Status.BUSY:
        running = thread.runs.active().values_list("graph_id", flat=True).first()
        live = get_live_output(thread, running) if running else None
        if live is not None:
            return live
        graph_id = graph_id or running
    return get_output(thread, graph_id) if graph_id else None


def _end(thread: Thread, until: str) -> list[tuple[str, str, Any]]:
    ended = thread.runs.exclude(status__in=Run.ACTIVE)
    if until:
        later = Run.objects.filter(pk=until).values("created_at")
        ended = ended.filter(created_at__lt=later)
    run = ended.newest_first().defer("kwargs", "given").first()
    if run is None:
        return []
    is_paused = not until and thread.resting_status == Thread.Status.INTERRUPTED
    end = lifecycle_of(run.status, run.error, is_paused=is_paused)
    data = {"event": end["event"], "graph_name": run.graph_id, **end}
    return [("lifecycle", f"synth:{run.pk}:lc||{end['event']}", data)]
