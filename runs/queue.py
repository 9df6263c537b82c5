"""The queue of runs: the group and rank of a run, pauses, and limits of owners.

The claim itself is the function `spool_next_run_1` in the database, which
`migrations/0022_claim_in_fewer_statements.py` creates.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.db.models.functions import Now

from spool.runs import lifecycle
from spool.runs.models import OwnerLimit, Pause, QueueEntry, Run
from spool.runs.priority import DEFAULTS, MAX_GROUP_LENGTH, ThreadPriority

# Runs that a client waits for precede others of the same priority.
CLASSES = [str(kind) for kind in Run.RunClass]
# The kinds of pauses whose name is an id.
BY_ID = (Pause.Kind.ASSISTANT, Pause.Kind.WORKER)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a new run waits: its group for fairness, and its rank in the group."""

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


@transaction.atomic
def pause(kind: str, name: str) -> bool:
    """Start no more runs of this owner, graph, assistant or worker.

    Returns False if it is already paused. Assistants and workers are named by their
    ids: raises ValueError for another name.
    """
    name = _checked(kind, name)
    _, is_new = Pause.objects.get_or_create(kind=kind, name=name)
    if is_new and kind == Pause.Kind.ASSISTANT:
        lifecycle.hold_back(UUID(name))
    return is_new


@transaction.atomic
def resume(kind: str, name: str) -> bool:
    """End a pause; the tick then wakes workers. False if it was not paused."""
    name = _checked(kind, name)
    deleted, _ = Pause.objects.filter(kind=kind, name=name).delete()
    if deleted and kind == Pause.Kind.ASSISTANT:
        lifecycle.let_in(UUID(name))
    if deleted and kind == Pause.Kind.OWNER:
        QueueEntry.objects.filter(fairness_group=name).update(since=Now())
    return bool(deleted)


def _checked(kind: str, name: str) -> str:
    return str(UUID(name)) if kind in BY_ID else name


def limit_owner(owner: str, max_running: int | None) -> None:
    """Limit the running runs of an owner: 0 for no limit, None for the default."""
    if max_running is None:
        OwnerLimit.objects.filter(owner=owner).delete()
    else:
        values = {"max_running": max_running}
        OwnerLimit.objects.update_or_create(owner=owner, defaults=values)
