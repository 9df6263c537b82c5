"""Recovers runs whose worker died, and wakes workers for runs that were missed."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

from django.conf import settings
from django.db import DatabaseError, connection, transaction
from django.db.models import Sum
from django.db.models.functions import Now

from spool.runs import lifecycle, presence
from spool.runs.lifecycle import Ended, Outcome, Searched
from spool.runs.models import Run, Worker
from spool.runs.streaming.events import generation
from spool.runs.streaming.writer import publish_end
from spool.runs.tracing import record_lost
from spool.telemetry import logs

logger = logging.getLogger(__name__)

# The fields of a run that are logged.
LOGGED = ("id", "thread_id", "owner", "user")

# After how many seconds a wake-up message counts as lost.
MESSAGE_TIMEOUT_SECS = 3.0
# The error of a run that was lost with its worker in each attempt.
LOST_ERROR = "WorkerLost"
# How far this process has searched for runs to wake.
_searched = Searched()
# How long rows of expired workers are kept, to show which worker had a run.
REMEMBERED = timedelta(days=7)


def expire_workers() -> None:
    """Expire workers whose last heartbeat is older than the lease."""
    if count := Worker.objects.silent().update(expired_at=Now()):
        logger.warning("%d workers have stopped sending heartbeats", count)


def expire_dead(worker_ids: Sequence[UUID]) -> None:
    """Expire workers whose process has ended."""
    dead = Worker.objects.filter(pk__in=worker_ids, expired_at=None)
    if count := dead.update(expired_at=Now()):
        logger.warning("%d workers of this machine have died", count)


def recover_lost_runs(*, can_tell: bool = True) -> list[Ended]:
    """Make runs of dead workers pending again, or end them after too many attempts.

    Returns the ends to announce. `can_tell` is false if silent workers may be alive:
    while Postgres is unavailable, all workers are silent.
    """
    presence.remove_dead(expire_dead)
    if can_tell:
        expire_workers()
    recovered = lifecycle.take_back(max_attempts=settings.BG_JOB_MAX_ATTEMPTS)
    _log_lost(recovered)
    record_lost(recovered)
    ends = [Ended(next_run_id=run_id) for run_id in recovered]
    too_often = lifecycle.lost_too_often(max_attempts=settings.BG_JOB_MAX_ATTEMPTS)
    if not too_often:
        return ends
    lost = Run.objects.filter(pk__in=too_often).select_related("thread")
    return ends + [ended for run in lost if (ended := _give_up(run))]


def _log_lost(run_ids: Sequence[UUID]) -> None:
    for run in Run.objects.filter(pk__in=run_ids).only(*LOGGED) if run_ids else ():
        owner = (run.user or {}).get("identity") or run.owner
        with logs.about(run_id=run.id, thread_id=run.thread_id, owner=owner):
            logger.warning(
                "run %s: its worker is gone, another one will continue it", run.id
            )


def _give_up(run: Run) -> Ended | None:
    """End a run that was lost too often. None if it has ended, or is left for later."""
    error = {
        "error": LOST_ERROR,
        "message": f"The run was lost with its worker {run.losses + 1} times.",
    }
    try:
        with transaction.atomic():
            with connection.cursor() as cursor:
                cursor.execute("SET LOCAL lock_timeout = '250ms'")
            ended = lifecycle.end_here(run, Outcome(Run.Status.ERROR, error))
    except DatabaseError:
        # For example, its thread is locked. Go on with the other runs.
        logger.warning(
            "run %s is lost, and could not be ended yet", run.id, exc_info=True
        )
        return None
    if ended:
        record_lost([run.id])
        publish_end(
            run.thread_id,
            run.id,
            Run.Status.ERROR,
            error,
            generation=generation(run.thread.created_at),
            graph_id=run.graph_id,
            used_seq=(ended.event_seq or 1) - 1,
            has_begun=True,
        )
    return ended


def sweep_workers() -> int:
    """Delete workers that expired long ago. Other workers have their runs by then."""
    return Worker.objects.filter(expired_at__lt=Now() - REMEMBERED).delete()[0]


def runs_to_wake() -> list[UUID]:
    """Return runs to send a message for, up to the number of free slots.

    Returns one even if no slot seems to be free: a run that waits for another one lends
    its slot, which only its worker knows.
    """
    global _searched
    if not lifecycle.any_waits():
        return []
    ready, _searched = lifecycle.make_ready(_searched)
    capacity = Worker.objects.alive().aggregate(total=Sum("capacity"))["total"]
    if not capacity:
        return []
    limit = max(capacity - Run.objects.running().count(), 1)
    if len(ready) >= limit:
        return ready[:limit]
    missed = lifecycle.missed(timeout=MESSAGE_TIMEOUT_SECS, limit=limit - len(ready))
    return [*ready, *missed]
