"""Nothing stays where it is for ever: lost runs go on, forgotten ones are woken."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

from django.conf import settings
from django.db import DatabaseError, connection, transaction
from django.db.models import Exists, OuterRef, Sum
from django.db.models.functions import Now

from spool.runs import lifecycle, presence
from spool.runs.lifecycle import Ended, Outcome
from spool.runs.models import Run, Worker
from spool.runs.streaming.events import generation
from spool.runs.streaming.writer import publish_end

logger = logging.getLogger(__name__)

# Seconds that a wake-up message may take before it counts as lost.
MESSAGE_TIMEOUT_SECS = 3.0
# How long a run's page can tell which worker it was on, once that has gone.
REMEMBERED = timedelta(days=7)


def expire_workers() -> None:
    """Workers that were silent for longer than the lease own nothing any more."""
    silent = Worker.objects.filter(expired_at=None).exclude(
        pk__in=Worker.objects.alive().values("pk")
    )
    if count := silent.update(expired_at=Now()):
        logger.warning("%d workers have gone silent", count)


def expire_dead(worker_ids: Sequence[UUID]) -> None:
    """The same at once for workers whose process has ended."""
    dead = Worker.objects.filter(pk__in=worker_ids, expired_at=None)
    if count := dead.update(expired_at=Now()):
        logger.warning("%d workers of this machine have died", count)


def recover_lost_runs(*, can_tell: bool = True) -> list[Ended]:
    """Runs whose worker is gone: pending again, or ended if that happens every time.

    Answers with what the ends set going; the others are woken like any run. `can_tell`
    is false where silent workers may be alive: Postgres was away, and so all were.
    """
    presence.bury(expire_dead)
    if can_tell:
        expire_workers()
    recovered = lifecycle.take_back(max_attempts=settings.BG_JOB_MAX_ATTEMPTS)
    for run_id in recovered:
        logger.warning("run %s: its worker is gone, it goes on elsewhere", run_id)
    ends = [Ended(run_id, next_run_id=run_id) for run_id in recovered]
    holder = Worker.objects.filter(pk=OuterRef("worker_id"), expired_at=None)
    # Not those of a worker that expired just now: they have attempts left.
    too_many = settings.BG_JOB_MAX_ATTEMPTS - 1
    lost = Run.objects.running().filter(~Exists(holder), losses__gte=too_many)
    lost = lost.select_related("thread")
    return ends + [ended for run in lost if (ended := _give_up(run))]


def _give_up(run: Run) -> Ended | None:
    """End a run that was lost too often. None: it has ended, or the next tick will."""
    error = {
        "error": "WorkerLost",
        "message": f"The run was lost with its worker {run.losses + 1} times.",
    }
    try:
        with transaction.atomic():
            with connection.cursor() as cursor:
                cursor.execute("SET LOCAL lock_timeout = '250ms'")
            ended = lifecycle.end_here(run, Outcome(Run.Status.ERROR, error))
    except DatabaseError:
        # Its thread is held, say: that must not hold up the others.
        logger.warning("run %s is lost, and can't be ended now", run.id, exc_info=True)
        return None
    if ended:
        publish_end(
            run.thread_id,
            run.id,
            Run.Status.ERROR,
            error,
            generation=generation(run.thread.created_at),
            graph_id=run.graph_id,
            used_seq=(ended.event_seq or 1) - 1,
        )
    return ended


def sweep_workers() -> int:
    """Forget workers that are long gone; what they ran is long with others."""
    return Worker.objects.filter(expired_at__lt=Now() - REMEMBERED).delete()[0]


def spare_capacity() -> int:
    """How many more runs the living workers could execute now."""
    capacity = Worker.objects.alive().aggregate(total=Sum("capacity"))["total"] or 0
    return max(capacity - Run.objects.running().count(), 0)


def runs_to_wake() -> list[UUID]:
    """Runs to send a message for, while somebody has room for them.

    Where nobody has, whoever ends a run takes the next one without a message.
    """
    if (spare := spare_capacity()) == 0:
        return []
    return lifecycle.wake(timeout=MESSAGE_TIMEOUT_SECS, limit=spare)
