"""The contents of a thread's page: the conversation, the state, the checkpoints."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from django.utils.safestring import SafeString
from rest_framework.exceptions import APIException

from spool.console import differences
from spool.console.conversation import conversation_of
from spool.console.markup import as_text
from spool.console.redaction import redacted
from spool.console.trees import tree
from spool.database.json import dumps, from_jsonb
from spool.runs.models import Run
from spool.threads.checkpoint_rows import Checkpoint, checkpoints_before, storage
from spool.threads.models import Thread
from spool.threads.state import get_state
from spool.threads.thread_request import CheckpointRef

# How many checkpoints are shown at first, and how many each time more are loaded.
PAGE, MORE = 25, 100
MAX_RUNS = 20


def figures(thread: Thread, *, hides_secrets: bool) -> dict[str, Any]:
    """The context of `console/thread.html`; it does not read the state."""
    runs = Run.objects.filter(thread=thread.pk).newest_first()
    sizes = storage(thread.pk)
    return {
        "thread": thread,
        "graph_id": thread.metadata.get("graph_id"),
        **waits_for(thread, hides_secrets=hides_secrets),
        "runs": runs.only("id", "status", "graph_id", "created_at", "error")[:MAX_RUNS],
        **history(thread, None, PAGE),
        "size": sizes["total_bytes"],
        "checkpoint_count": sizes["checkpoints"]["count"],
        "metadata": as_text(thread.metadata, hides_secrets=hides_secrets),
        "config": as_text(thread.config, hides_secrets=hides_secrets),
    }


def waits_for(thread: Thread, *, hides_secrets: bool) -> dict[str, Any]:
    """The context of `console/interrupts.html`."""
    return {
        "interrupts": _interrupts(thread, hides_secrets=hides_secrets),
        "is_interrupted": thread.status == Thread.Status.INTERRUPTED,
    }


def history(thread: Thread, before: str | None, limit: int) -> dict[str, Any]:
    """The context of `console/thread_checkpoints.html`: at most `limit` checkpoints."""
    found = checkpoints_before(thread.pk, before, limit + 1)
    ids = [one.checkpoint_id for one in found]
    # A thread's first checkpoint, the last one here, has none before it.
    before_each = [*ids[1:], None][: len(ids)]
    shown = [
        CheckpointLine(
            one,
            is_current=before is None and one is found[0],
            branches=one.parent_id not in (None, previous),
        )
        for one, previous in zip(found, before_each, strict=True)
    ][:limit]
    return {
        "checkpoints": shown,
        "is_more": before is not None,
        "next_before": found[limit - 1].checkpoint_id if len(found) > limit else None,
    }


def conversation(thread: Thread, *, hides_secrets: bool) -> dict[str, Any]:
    """The context of `console/thread_values.html`."""
    values = thread.values
    return {
        "conversation": conversation_of(values, hides_secrets=hides_secrets),
        "tree": None if values is None else tree(values, hides_secrets=hides_secrets),
    }


@dataclass(frozen=True, slots=True)
class CheckpointLine:
    checkpoint: Checkpoint
    is_current: bool
    # Whether its parent is not the checkpoint before it.
    branches: bool


@dataclass(frozen=True, slots=True)
class State:
    """The state at a checkpoint, or the difference between two states."""

    values: SafeString | None = None
    next: tuple[str, ...] = ()
    lines: tuple[tuple[str, str], ...] | None = None
    error: str = ""


def state_at(thread: Thread, checkpoint_id: str, *, hides_secrets: bool) -> State:
    try:
        snapshot = get_state(thread, checkpoint=CheckpointRef(checkpoint_id))
    except APIException as exc:
        return State(error=str(exc.detail))
    values = tree(_plain(snapshot.values), hides_secrets=hides_secrets)
    return State(values, tuple(snapshot.next))


def difference(
    thread: Thread, first: str, second: str, *, hides_secrets: bool
) -> State:
    """The changes from one checkpoint to the other, as lines of a unified diff."""
    try:
        before, after = (
            _plain(get_state(thread, checkpoint=CheckpointRef(one)).values)
            for one in sorted((first, second))
        )
    except APIException as exc:
        return State(error=str(exc.detail))
    lines = differences.difference(
        _lines(before, hides_secrets=hides_secrets),
        _lines(after, hides_secrets=hides_secrets),
    )
    return State(lines=tuple(lines))


def _interrupts(thread: Thread, *, hides_secrets: bool) -> list[dict[str, Any]]:
    """The open interrupts, each with its value for reading."""
    if thread.status != Thread.Status.INTERRUPTED:
        return []
    return [
        {
            "id": one.get("id"),
            "value": as_text(one.get("value"), hides_secrets=hides_secrets),
        }
        for waiting in (thread.ordered_interrupts or {}).values()
        for one in waiting
    ]


def _plain(value: Any) -> Any:
    """Convert values of graphs, such as messages, to plain JSON."""
    return from_jsonb(dumps(value))


def _lines(value: Any, *, hides_secrets: bool) -> list[str]:
    shown = redacted(value) if hides_secrets else value
    text = json.dumps(shown, indent=2, ensure_ascii=False, sort_keys=True)
    return text.split("\n")
