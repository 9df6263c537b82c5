"""The queue of runs: the group and rank of a run, and pauses.

The claim itself is the function `spool_next_run_1` in the database, which
`migrations/0007_queue_fairly.py` creates.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.conf import settings

from spool.runs.models import Pause, Run
from spool.runs.priority import DEFAULTS, MAX_GROUP_LENGTH, ThreadPriority

# Runs that a client waits for precede others of the same priority.
CLASSES = [str(kind) for kind in Run.RunClass]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a new run waits: its group for fairness, and its rank in there."""

    fairness_group: str
    queue_rank: int


def place(
    owner: str,
    metadata: Mapping[str, Any],
    run_class: str,
    decided: ThreadPriority | None,
) -> Place:
    """The place of a new run in the queue."""
    decided = decided or DEFAULTS
    group = decided.fairness_group or _group(owner, metadata)
    return Place(
        fairness_group=group[:MAX_GROUP_LENGTH],
        queue_rank=10 * decided.priority + CLASSES.index(run_class),
    )


def _group(owner: str, metadata: Mapping[str, Any]) -> str:
    _, _, key = settings.FAIRNESS_KEY.partition(".")
    named = metadata.get(key) if key else None
    return str(named) if isinstance(named, (str, int)) else owner


def pause(kind: str, name: str) -> bool:
    """Let no more runs of an owner, graph or worker start. False if already paused."""
    _, is_new = Pause.objects.get_or_create(kind=kind, name=name)
    return is_new


def resume(kind: str, name: str) -> bool:
    """End a pause; the tick then wakes workers. False if it was not paused."""
    deleted, _ = Pause.objects.filter(kind=kind, name=name).delete()
    return bool(deleted)
