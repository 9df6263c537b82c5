"""Use cases that write threads."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

from django.db import connection, transaction
from django.db.models.functions import Now

from spool.access.policy import Scope
from spool.database.fields import Merge
from spool.database.loop import shared_loop
from spool.threads import hooks, rows
from spool.threads.checkpoint_rows import (
    copy_checkpoints,
    delete_checkpoints,
    keep_latest,
    with_differences,
)
from spool.threads.models import Thread, ThreadQuerySet
from spool.threads.state import get_state
from spool.threads.state_form import cached_columns
from spool.threads.thread_request import NewThread, ThreadChanges
from spool.threads.ttl import TTL, ttl_params
from spool.web.errors import Conflict, Unprocessable
from spool.web.limits import check_merged_metadata

# How many threads are deleted in one transaction.
BATCH = 100


class ThreadExists(Conflict):
    def __init__(self, thread_id: UUID) -> None:
        super().__init__(f"Thread with ID {thread_id} already exists")


class Unprunable(Unprocessable):
    def __init__(self, thread_ids: list[str]) -> None:
        super().__init__(
            "strategy: keep_latest can't prune threads that use a DeltaChannel: "
            f"{', '.join(thread_ids)}"
        )


def create_thread(scope: Scope, new: NewThread) -> tuple[rows.Body, bool]:
    """Insert a thread. Returns its body, and whether it is new.

    If its id exists, returns that thread (`do_nothing`) or raises `ThreadExists`.
    """
    if inserted := rows.insert(new):
        return inserted, True
    existing = rows.find(scope, new.id) if new.if_exists != "raise" else None
    if existing is None:
        # Also raised if the thread has another owner, so that the error does not reveal
        # the difference.
        raise ThreadExists(new.id)
    return existing, False


@transaction.atomic
def update_thread(threads: ThreadQuerySet, changes: ThreadChanges) -> bool:
    """Change threads. Returns whether there were any.

    Metadata is merged at its top level in the database, so that concurrent changes
    don't lose keys.
    """
    columns: dict[str, Any] = {"updated_at": Now()}
    if changes.metadata:
        # Locked, so that concurrent changes can't exceed the limit together.
        locked = threads.select_for_update(no_key=True)
        for before in locked.values_list("metadata", flat=True):
            check_merged_metadata({**before, **changes.metadata}, before=before)
        columns["metadata"] = Merge("metadata", changes.metadata)
    if changes.ttl:
        columns |= ttl_params(changes.ttl)
        columns["expires_at"] = Now() + timedelta(minutes=changes.ttl.minutes)
    return bool(threads.update(**columns))


@transaction.atomic
def delete_threads(threads: ThreadQuerySet, *, by_sweep: bool = False) -> int:
    """Delete threads with their runs and their state. Returns how many there were.

    A sweep skips threads that are locked, and keeps the records of their runs.

    The rows of active runs are deleted first, so that they can't save anything more.
    That deletion waits for the last save of each run, which is then deleted with the
    rest of the state.
    """
    # In a fixed order, so that concurrent deletions of the same threads can't deadlock.
    locked = threads.select_for_update(skip_locked=by_sweep).order_by("pk")
    ids = list(locked.values_list("pk", flat=True))
    if not by_sweep:
        hooks.forget_runs_of(ids)
    hooks.delete_runs_of(ids)
    delete_checkpoints(ids)
    # Django would first load the threads with their state, to find related rows.
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM threads WHERE id = ANY(%s)", [ids])
    return len(ids)


def delete_owned_by(owner: str) -> int:
    """Delete all threads of an owner, with runs and state. Returns their number."""
    threads, count = Thread.objects.filter(owner=owner), 0
    while ids := list(threads.values_list("pk", flat=True)[:BATCH]):
        count += delete_threads(threads.filter(pk__in=ids))
    return count


def delete_threads_of_assistant(assistant_id: UUID, scope: Scope) -> None:
    """Delete the threads whose last run was one of this assistant."""
    threads = Thread.objects.visible_to(scope).filter(
        metadata__contains={"assistant_id": str(assistant_id)}
    )
    while ids := list(threads.values_list("pk", flat=True)[:BATCH]):
        delete_threads(threads.filter(pk__in=ids))


def copy_thread(source: Thread, metadata: Mapping[str, Any]) -> Thread | None:
    """Copy a thread with its state and history, but no runs. None if it was deleted."""
    with transaction.atomic():
        # While the row is locked, only an active run changes it or its checkpoints.
        rows = Thread.objects.select_for_update(no_key=True)
        locked = rows.filter(pk=source.pk, discarded_at=None).first()
        if locked is None:
            return None
        copy = _copy_row(locked, metadata)
        copy_checkpoints(locked.id, copy.id)
    if locked.status == Thread.Status.BUSY:
        # The row shows the state of the last ended run, but the checkpoints already
        # include the active run. If its graph is gone, keep the row as it is.
        with suppress(Unprocessable):
            shown = cached_columns(get_state(copy))
            shown["resting_status"] = shown["status"]
            Thread.objects.filter(pk=copy.pk).update(**shown)
    return Thread.objects.filter(pk=copy.pk).first()


def _copy_row(source: Thread, metadata: Mapping[str, Any]) -> Thread:
    minutes, strategy = source.ttl_minutes, source.ttl_strategy
    own = TTL(minutes, strategy) if minutes else None
    copy = Thread(
        id=uuid4(),
        metadata=metadata,
        config=source.config,
        status=source.resting_status,
        resting_status=source.resting_status,
        values=source.values,
        interrupts=source.interrupts,
        interrupt_order=source.interrupt_order,
        error=source.error,
        **ttl_params(own),
    )
    if copy.ttl_minutes:
        copy.expires_at = Now() + timedelta(minutes=copy.ttl_minutes)
    copy.save(force_insert=True)
    return copy


def prune_threads(threads: ThreadQuerySet, strategy: str) -> int:
    """Delete these threads, or all but their newest state. Returns how many there were.

    A thread with an active run keeps all of its state.
    """
    ids = list(threads.values_list("pk", flat=True))
    if strategy == Thread.TTLStrategy.DELETE:
        return sum(
            delete_threads(threads.filter(pk__in=ids[start : start + BATCH]))
            for start in range(0, len(ids), BATCH)
        )
    # Check before changing anything, since pruned state can't be restored.
    if refused := with_differences(ids):
        raise Unprunable(refused)
    try:
        return sum(map(prune_state, ids))
    except NotImplementedError as exc:
        # A graph with a DeltaChannel has run on one of them since the check.
        raise Unprocessable(f"strategy: {exc}") from None


@transaction.atomic
def prune_state(thread_id: UUID) -> bool:
    """Delete all of a thread's state except the newest.

    Returns False if a run is active, since it may be rolled back to an earlier state.
    """
    threads = Thread.objects.select_for_update(no_key=True)
    resting = threads.filter(pk=thread_id).exclude(status=Thread.Status.BUSY)
    # Lock the row, so that no run starts.
    if not resting.values_list("pk", flat=True):
        return False
    shared_loop().run(keep_latest(shared_loop().pool, thread_id))
    return True
