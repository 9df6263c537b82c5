"""The events that a run's viewers get at its end."""

from __future__ import annotations

from dataclasses import replace

from spool.runs.lifecycle import Claim, Outcome
from spool.runs.models import Run
from spool.runs.run_request import RunKwargs
from spool.runs.streaming.events import SUBSCRIBERS_ONLY
from spool.runs.streaming.modes import WireEvent, in_order_of_tasks, with_interrupts
from spool.runs.streaming.writer import EventWriter, last_events
from spool.threads.models import Thread


def numbered(held: Claim, outcome: Outcome, writer: EventWriter) -> Outcome:
    """Add the number that the run's last event will have to the outcome."""
    seq = writer.seq_after(len(last_events_of(held, outcome)))
    return replace(outcome, event_seq=seq)


def last_events_of(held: Claim, outcome: Outcome) -> list[WireEvent]:
    """The last events of a run: how it ended, and its interrupts for subscribers."""
    state, status = outcome.state or {}, outcome.status or Run.Status.INTERRUPTED
    is_paused = state.get("status") == Thread.Status.INTERRUPTED
    last = last_events(status, outcome.error, is_paused=is_paused, **outcome.end_data)
    if status == Run.Status.SUCCESS and not held.is_temporary:
        last = [*_subscribers_events(held.kwargs, outcome), *last]
    return last


def _subscribers_events(kwargs: RunKwargs, outcome: Outcome) -> list[WireEvent]:
    """The events at the end of a run that only subscribers of event streaming get."""
    events: list[WireEvent] = []
    if "values" not in kwargs.stream_mode:
        events.append((f"{SUBSCRIBERS_ONLY}values", outcome.output))
    for one in in_order_of_tasks((outcome.state or {}).get("interrupts")):
        # Both names, since some clients read one and some the other.
        data = {"interrupt_id": one.id, "payload": one.value, "value": one.value}
        where = outcome.asked_in.get(one.id, ())
        events.append(("|".join((f"{SUBSCRIBERS_ONLY}input.requested", *where)), data))
    return events


def final_values_of(held: Claim, outcome: Outcome) -> list[WireEvent]:
    """The final `values` event, for viewers of the run's values."""
    if outcome.state is None or "values" not in held.kwargs.stream_mode:
        return []
    return [("values", with_interrupts(outcome.output, outcome.state["interrupts"]))]
