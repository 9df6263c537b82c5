"""Use cases that write runs. Messages and events are sent after the commit."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from datetime import datetime
from functools import partial
from math import inf
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import connection, transaction
from rest_framework.exceptions import APIException

from spool.access.policy import EVERYTHING
from spool.assistants.services import resolve_assistant
from spool.runs import lifecycle, queue, record, tasks
from spool.runs.lifecycle import Creation, Ended, NewRun, Outcome
from spool.runs.models import Pause, Run, RunQuerySet
from spool.runs.new_run import new_run, run_again, run_kwargs
from spool.runs.priority import ThreadPriority, thread_priority
from spool.runs.run_request import AllowedRun, RunRequest
from spool.runs.streaming import events
from spool.runs.streaming.writer import publish_end
from spool.threads.checkpoint_rows import (
    has_checkpoint,
    needs_all_its_checkpoints,
    undo_run,
)
from spool.threads.models import Thread
from spool.threads.updates import show_newest_state
from spool.usage import budgets
from spool.usage.budgets import Payer
from spool.web.errors import BadRequest, Conflict, NotFound, Unprocessable
from spool.webhooks import addresses
from spool.webhooks.models import PushConfig

logger = logging.getLogger(__name__)

# A run's id, how it is stopped and why, for the log.
STOPPED = "run %s: stopped (%s): %s"

INTERRUPTING = (Run.MultitaskStrategy.INTERRUPT, Run.MultitaskStrategy.ROLLBACK)
CANCELLED = Outcome(Run.Status.INTERRUPTED, settles=False)
DISCARDED = Outcome(None, settles=False)


class ThreadBusy(Conflict):
    default_detail = (
        "Thread is already running a task. Wait for it to finish or choose a "
        "different multitask strategy."
    )


class TooManyRuns(APIException):
    status_code = 429

    def __init__(self) -> None:
        limit = settings.MAX_RUNS_PER_OWNER
        super().__init__(f"At most {limit} runs at a time: wait until one has ended")


class AssistantChanged(Exception):
    """The assistant has changed since it was read."""


class ThreadNotFound(NotFound):
    default_detail = "Thread or assistant not found."


def create_run(run: AllowedRun) -> Run:
    """Store a pending run, and wake a worker once the run is committed.

    Without a thread the run gets a new one, which is deleted with the run unless
    `on_completion` is `keep`.
    """
    check_request(run)
    budgets.check(payer_of(run))
    try:
        return _create_run(run, remembered=True)
    except AssistantChanged:
        return _create_run(run, remembered=False)


@transaction.atomic
def create_runs(runs: Iterable[AllowedRun]) -> list[Run]:
    """Create all runs, or none if one is refused.

    All or none, since clients retry the whole request after an error.
    """
    return [create_run(run) for run in runs]


def check_request(run: AllowedRun) -> None:
    """Refuse a request that contradicts itself, or whose webhook is not allowed."""
    request = run.request
    if request.webhook:
        addresses.check(request.webhook)
    if run.thread_id is None and request.resumes:
        raise BadRequest("You must provide a thread_id when resuming.")
    _check_thread_of(request, run.thread_id)


def payer_of(run: AllowedRun) -> Payer:
    """The owner and API key whose budgets apply to the run."""
    return Payer(run.scope.identity or run.scope.owner, run.scope.api_key_id)


def _create_run(run: AllowedRun, *, remembered: bool) -> Run:
    """Create a run. Raises `AssistantChanged` if a `remembered` assistant is stale."""
    assistant = resolve_assistant(
        run.assistants or run.scope, run.request.assistant_id, remembered=remembered
    )
    kwargs = run_kwargs(run, assistant)
    priority = thread_priority(run, assistant)
    new = new_run(run, assistant, kwargs, priority)
    unchanged_since = assistant.updated_at if remembered else None
    with _unit(run):
        if room_for_runs(run.scope.identity) < 1:
            raise TooManyRuns
        try:
            created = _insert_run(run, new, priority, unchanged_since)
        except ThreadNotFound:
            if not run.request.creates_thread:
                raise
            # The thread had expired, and a sweep has deleted it since it was found.
            created = _insert_run(run, new, priority, unchanged_since)
        if created.dispatched_at:
            transaction.on_commit(partial(tasks.dispatch, created.id))
    return created


def _unit(run: AllowedRun) -> AbstractContextManager[Any]:
    """The transaction that a run is created in."""
    # A single statement that creates the run needs no transaction around it.
    alone = (
        run.thread_id is not None
        and not run.request.creates_thread
        and run.request.multitask_strategy not in INTERRUPTING
        and not settings.MAX_RUNS_PER_OWNER
    )
    return nullcontext() if alone else transaction.atomic()


def _insert_run(
    run: AllowedRun,
    new: NewRun,
    priority: ThreadPriority | None,
    assistant_updated_at: datetime | None,
) -> Run:
    scope, interrupts = run.scope, new.multitask_strategy in INTERRUPTING
    if run.thread_id is None or run.request.creates_thread:
        _create_thread(run.request, new, priority)
    checks = interrupts or new.kwargs.checkpoint_id
    if run.thread_id is not None and (checks or not scope.is_plain):
        visible = Thread.objects.visible_to(scope).filter(pk=run.thread_id)
        if not visible.exists():
            raise ThreadNotFound
    _check_fork_point(new)
    if interrupts:
        _make_way(new.thread_id, new.multitask_strategy, new.id)
    created = lifecycle.create(
        new,
        scope=scope if scope.is_plain and run.thread_id else EVERYTHING,
        assistant_updated_at=assistant_updated_at,
    )
    if created.run:
        return created.run
    raise why_refused(created)


def why_refused(created: Creation) -> Exception:
    """The exception that says why the run was not created."""
    if not created.has_thread:
        return ThreadNotFound()
    return AssistantChanged() if created.is_stale else ThreadBusy()


def cancel_run(run: Run, action: str, reason: str = Run.BY_API) -> bool:
    """Stop a run: a pending one at once, a running one through its worker.

    Returns False if the run has already ended. The end of a running run is published
    once its worker has confirmed it.
    """
    with transaction.atomic():
        lifecycle.lock_thread(run.thread_id)
        fresh = Run.objects.active().filter(pk=run.pk).first()
        if fresh is None:
            return False
        _stop(fresh, action, reason)
    return True


def cancel_runs(runs: RunQuerySet, action: str, reason: str = Run.BY_API) -> int:
    """Stop these runs, the oldest first. Returns how many were stopped."""
    # Leave out their inputs, which may be large: each run is read again under its lock.
    named = runs.only("id", "thread_id").oldest_first()
    return sum(cancel_run(run, action, reason) for run in named)


def stop_runs_of_assistant(assistant_id: UUID) -> None:
    """Stop the active runs of an assistant that is being deleted."""
    runs = Run.objects.active().filter(assistant_id=assistant_id)
    cancel_runs(runs, Run.CancelAction.INTERRUPT, Run.ASSISTANT_DELETED)
    queue.resume(Pause.Kind.ASSISTANT, str(assistant_id))


def requeue_run(run: Run) -> Run | None:
    """Wake a worker for a pending run, or create a run like one that has ended.

    Returns None if the run is running, or if its thread was deleted with it.
    """
    if run.status == Run.Status.PENDING:
        tasks.dispatch(run.id)
        return run
    if run.is_active or run.is_temporary:
        return None
    again = lifecycle.create(run_again(run)).run
    if again and again.dispatched_at:
        transaction.on_commit(partial(tasks.dispatch, again.id))
    return again


def delete_run(run: Run) -> None:
    """Delete a run and its checkpoints; a running one is stopped.

    On a thread with a DeltaChannel the checkpoints of an ended run are kept, since
    later states are built from them.
    """
    with transaction.atomic():
        lifecycle.lock_thread(run.thread_id)
        fresh = Run.objects.filter(pk=run.pk).first()
        if fresh is None:
            return
        while (ended := lifecycle.end_here(fresh, DISCARDED)) is None:
            # The run was claimed or handed back in between. It can't end now, since its
            # thread is locked here.
            fresh.refresh_from_db()
        record.forget_run(fresh.id)
        if fresh.is_active:
            logger.info(STOPPED, run.id, "deleted", "by the API")
            _undo(fresh)
            transaction.on_commit(
                partial(events.signal_stop, fresh.id, Run.CancelAction.ROLLBACK)
            )
            _announce_end(fresh, ended)
        elif not needs_all_its_checkpoints(fresh.thread_id) and _undo(fresh):
            transaction.on_commit(partial(_show_newest_state, fresh.thread_id))
        transaction.on_commit(partial(events.remove, fresh.thread_id, fresh.id))
        if ended:
            transaction.on_commit(partial(tasks.announce, ended))


def delete_runs_of(thread_ids: Sequence[UUID]) -> None:
    """Delete all runs of threads to be deleted, in the caller's transaction.

    The caller has locked the threads' rows. Running runs are stopped, and their ends
    are published.
    """
    active = Run.objects.active().filter(thread__in=thread_ids)
    for run in active.select_related("thread"):
        logger.info(STOPPED, run.id, "deleted", "its thread was deleted")
        # First its end: the worker removes the run's events when it stops. No run
        # follows, since the thread is deleted.
        _announce_end(run, None)
        rollback = Run.CancelAction.ROLLBACK
        transaction.on_commit(partial(events.signal_stop, run.id, rollback))
    # After the ends are published, which must be the last events.
    transaction.on_commit(partial(events.forget, thread_ids))
    Run.objects.filter(thread__in=thread_ids).delete()
    PushConfig.objects.filter(thread_id__in=thread_ids).delete()


def room_for_runs(identity: str | None) -> float:
    """How many more active runs an owner may have, until the transaction ends."""
    limit = settings.MAX_RUNS_PER_OWNER
    if not limit or identity is None:
        return inf
    with connection.cursor() as cursor:
        # Serialize requests, so that concurrent ones can't all find room for one more.
        lock = "SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))"
        cursor.execute(lock, [f"runs of {identity}"])
    return limit - Run.objects.active().filter(user__identity=identity).count()


def _make_way(thread_id: UUID, strategy: str, new_id: UUID) -> None:
    """Stop the active runs of a thread, for a new run that does not wait for them."""
    lifecycle.lock_thread(thread_id)
    for run in Run.objects.active().filter(thread_id=thread_id).oldest_first():
        _stop(run, strategy, f"superseded by run {new_id}")


def _stop(run: Run, action: str, reason: str) -> None:
    """Stop a run. The caller holds the thread's lock, so it can't start or end now."""
    rollback = action == Run.CancelAction.ROLLBACK
    transaction.on_commit(partial(logger.info, STOPPED, run.id, action, reason))
    # Once a worker has begun a run, only a worker knows the resulting state.
    if run.status == Run.Status.PENDING and (rollback or not run.attempt):
        lifecycle.note_reason(run, reason)
        ended = lifecycle.end_here(run, DISCARDED if rollback else CANCELLED)
        if ended:
            _undo(run)
            _announce_end(run, ended)
            transaction.on_commit(partial(tasks.announce, ended))
            return
        run.refresh_from_db()  # A worker has claimed the run in between.
    if lifecycle.request_stop(run, action, reason):
        transaction.on_commit(partial(events.signal_stop, run.id, action))


def _undo(run: Run) -> bool:
    """Undo the checkpoints of a run. Its row is deleted, so that it can't save more.

    Returns whether the run had saved the thread's newest state.
    """
    if not run.attempt or run.is_temporary:
        return False
    return undo_run(run.thread_id, run.id)


def _show_newest_state(thread_id: UUID) -> None:
    try:
        show_newest_state(thread_id)
    except Exception:
        # The graph may not be served any more, and its factory is user code.
        logger.exception("thread %s: could not update its displayed state", thread_id)


def _announce_end(run: Run, ended: Ended | None) -> None:
    generation = events.generation(run.thread.created_at)
    transaction.on_commit(
        partial(
            publish_end,
            run.thread_id,
            run.id,
            Run.Status.INTERRUPTED,
            generation=generation,
            graph_id=run.graph_id,
            used_seq=ended.event_seq - 1 if ended and ended.event_seq else 0,
            has_begun=run.attempt > 0,
        )
    )


def _create_thread(
    request: RunRequest, new: NewRun, priority: ThreadPriority | None
) -> None:
    """Create the run's thread with the run's metadata, unless the id exists."""
    thread = thread_of(request, new, priority)
    Thread.objects.bulk_create([thread], ignore_conflicts=True)


def thread_of(
    request: RunRequest, new: NewRun, priority: ThreadPriority | None
) -> Thread:
    """Build the thread that is created for a run."""
    return Thread(
        id=new.thread_id,
        metadata={**request.metadata, **new.thread_metadata},
        priority=priority.priority if priority else None,
        fairness_group=priority.fairness_group if priority else None,
    )


def _check_fork_point(new: NewRun) -> None:
    """Refuse a missing checkpoint: LangGraph would start from an empty state."""
    checkpoint_id = new.kwargs.checkpoint_id
    if checkpoint_id and not has_checkpoint(new.thread_id, checkpoint_id):
        raise NotFound(f"Checkpoint {checkpoint_id} not found")


def _check_thread_of(request: RunRequest, thread_id: UUID | None) -> None:
    """Refuse a checkpoint of another thread: LangGraph would silently ignore it."""
    named = (request.checkpoint or {}).get("thread_id")
    if named and named != str(thread_id):
        raise Unprocessable("checkpoint: it belongs to another thread")
