"""The queue of runs: the group and rank of a run, and pauses.

The claim itself is the function `spool_next_run_1` in the database, which
`migrations/0007_queue_fairly.py` creates.
"""

from __future__ import annotations

from typing import Any

from django.conf import settings

from spool.runs.models import Pause, Run
from spool.runs.priority import DEFAULTS, MAX_GROUP_LENGTH, ThreadPriority

# Runs that a client waits for precede others of the same priority.
CLASSES = [str(kind) for kind in Run.RunClass]


def place(
    owner: str, metadata: dict[str, Any], run_class: str, decided: ThreadPriority | None
) -> dict[str, Any]:
    """The columns of a new run for the queue: its fairness group and its rank."""
    decided = decided or DEFAULTS
    group = decided.fairness_group or _group(owner, metadata)
    return {
        "fairness_group": group[:MAX_GROUP_LENGTH],
        "queue_rank": 10 * decided.priority + CLASSES.index(run_class),
    }


def _group(owner: str, metadata: dict[str, Any]) -> str:
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
