"""What the page of a thread shows: the conversation, the state, the checkpoints."""

from __future__ import annotations

import difflib
import json
from dataclasses import dataclass
from typing import Any

from django.utils.safestring import SafeString
from rest_framework.exceptions import APIException

from spool.console.conversation import conversation_of
from spool.console.markup import as_text
from spool.console.trees import tree
from spool.database.json import dumps, from_jsonb
from spool.runs.models import Run
from spool.threads.checkpoint_rows import checkpoints_before, storage
from spool.threads.models import Thread
from spool.threads.state import get_state
from spool.threads.thread_request import CheckpointRef

PAGE = 25
MAX_RUNS = 20
MAX_DIFF_LINES = 1_000


def figures(thread: Thread, before: str | None) -> dict[str, Any]:
    """The context of `console/thread.html`; it does not read the state."""
    found = checkpoints_before(thread.pk, before, PAGE + 1)
    runs = Run.objects.filter(thread=thread.pk).newest_first()
    sizes = storage(thread.pk)
    return {
        "thread": thread,
        "graph_id": thread.metadata.get("graph_id"),
        "interrupts": _interrupts(thread),
        "runs": runs.only("id", "status", "graph_id", "created_at", "error")[:MAX_RUNS],
        "checkpoints": found[:PAGE],
        "next_before": found[PAGE - 1].checkpoint_id if len(found) > PAGE else None,
        "size": sizes["total_bytes"],
        "checkpoint_count": sizes["checkpoints"]["count"],
        "metadata": as_text(thread.metadata),
        "config": as_text(thread.config),
    }


def conversation(thread: Thread) -> dict[str, Any]:
    """The context of `console/thread_values.html`."""
    values = thread.values
    return {
        "conversation": conversation_of(values),
        "tree": None if values is None else tree(values),
    }


@dataclass(frozen=True, slots=True)
class State:
    """The state at a checkpoint, or the difference of two."""

    values: SafeString | None = None
    next: tuple[str, ...] = ()
    lines: tuple[tuple[str, str], ...] | None = None
    error: str = ""


def state_at(thread: Thread, checkpoint_id: str) -> State:
    try:
        snapshot = get_state(thread, checkpoint=CheckpointRef(checkpoint_id))
    except APIException as exc:
        return State(error=str(exc.detail))
    return State(tree(_plain(snapshot.values)), tuple(snapshot.next))


def difference(thread: Thread, first: str, second: str) -> State:
    """What changed from one checkpoint to the other, as lines of a unified diff."""
    try:
        before, after = (
            _lines(get_state(thread, checkpoint=CheckpointRef(one)).values)
            for one in sorted((first, second))
        )
    except APIException as exc:
        return State(error=str(exc.detail))
    lines = [
        (line[0], line)
        for line in difflib.unified_diff(before, after, lineterm="", n=2)
        if not line.startswith(("---", "+++"))
    ]
    if len(lines) > MAX_DIFF_LINES:
        left_out = len(lines) - MAX_DIFF_LINES
        lines = [*lines[:MAX_DIFF_LINES], (" ", f"… {left_out} more lines")]
    return State(lines=tuple(lines))


def _interrupts(thread: Thread) -> list[dict[str, Any]]:
    """The open interrupts, each with its value for reading."""
    if thread.status != Thread.Status.INTERRUPTED:
        return []
    return [
        {"id": one.get("id"), "value": as_text(one.get("value"))}
        for waiting in (thread.ordered_interrupts or {}).values()
        for one in waiting
    ]


def _plain(value: Any) -> Any:
    """Values of graphs, such as messages, as JSON shows them."""
    return from_jsonb(dumps(value))


def _lines(value: Any) -> list[str]:
    return json.dumps(
        _plain(value), indent=2, ensure_ascii=False, sort_keys=True
    ).split("\n")
