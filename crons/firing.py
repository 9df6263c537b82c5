"""The tick of the crons: fires due crons, once per slot in all processes together.

Due crons are selected with `FOR UPDATE SKIP LOCKED`. The run, the record of the firing
and the next date are written in one transaction: a process that dies at any line leaves
the cron either fired or due. Crons are fired together (`crons.together`), or one by one
if that fails, so that a bad cron can't harm the others.
"""

from __future__ import annotations

import logging
from datetime import datetime, timedelta
from uuid import UUID

from django.conf import settings
from django.db import (
    DatabaseError,
    IntegrityError,
    OperationalError,
    connection,
    transaction,
)
from django.db.models import Q
from django.db.models.functions import Now
from psycopg.errors import LockNotAvailable
from rest_framework.exceptions import APIException

from spool.assistants.models import Assistant
from spool.crons.creator import Creator
from spool.crons.models import Cron, CronFiring, CronQuerySet
from spool.crons.schedule import BadSchedule, BadTimezone
from spool.crons.services import (
    check_can_create,
    check_same_runs,
    database_now,
    disable,
    locked,
    make_run,
)
from spool.crons.slots import move_on, set_first_slot
from spool.crons.together import (
    fire_together,
    keep_apart,
    new_firing,
    note_run,
    traced,
)
from spool.runs.models import Run
from spool.threads.models import Thread
from spool.web.errors import NotFound

logger = logging.getLogger(__name__)

BATCH = 100
# How many batches of one tick may fire crons. A backlog takes several ticks, so that it
# can't delay a worker that has to stop or has other tasks.
MAX_BATCHES = 10


def fire_due() -> int:
    """Fire due crons, at most as many as one tick may. Returns their number."""
    # Crons that become due meanwhile are left to the next tick, so that this one ends.
    now = database_now()
    left_alone: set[UUID] = set()
    total = batches = 0
    while batches < MAX_BATCHES:
        taken, fired = _fire_batch(now, left_alone)
        if not taken:
            break
        total += fired
        # Batches that fire no cron don't count, so that they can't block the others.
        batches += fired > 0
    return total


def _fire_batch(due_at: datetime, left_alone: set[UUID]) -> tuple[int, int]:
    """Fire a batch. Return how many crons were due, and how many are no longer due.

    The ids of the others, or of their threads, are added to `left_alone`: the next tick
    retries them.
    """
    waiting = Q(pk__in=left_alone) | Q(thread_id__in=left_alone)
    due = Cron.objects.due(due_at).exclude(waiting).order_by("next_run_date")
    taken = fire_together(due, BATCH)
    fired = len(taken.fired)
    if rest := taken.ids - taken.fired:
        fired += _fire_each(due.filter(pk__in=rest), left_alone)
    return len(taken.ids), fired


@transaction.atomic
def _fire_each(due: CronQuerySet, left_alone: set[UUID]) -> int:
    """Fire crons one by one. Returns the number of those that are no longer due."""
    # Read only ids: a request may be large, and a batch of them too large for memory.
    taken = due.select_for_update(skip_locked=True).values("pk", "user_id", "thread_id")
    batch = list(taken)
    keep_apart()
    now = database_now()
    # Lock owners and threads in the same order everywhere, to avoid deadlocks.
    batch.sort(key=lambda row: (row["user_id"] or "", str(row["thread_id"])))
    fired = 0
    for row in batch:
        if row["thread_id"] not in left_alone:
            fired += _fire_apart(Cron.objects.get(pk=row["pk"]), now, left_alone)
    return fired


def _fire_apart(cron: Cron, now: datetime, left_alone: set[UUID]) -> bool:
    """Fire one cron of a batch, and catch its errors.

    Return False if the next tick has to retry it.
    """
    try:
        with transaction.atomic():
            _fire(cron, now)
    except IntegrityError:
        cron.refresh_from_db()
        logger.warning("cron %s: fired for %s", cron.id, cron.next_run_date)
        move_on(cron, now)
        _save(cron)
    except DatabaseError as exc:
        # For example, a lock timed out, which is not the cron's fault.
        logger.warning("cron %s waits for the next tick", cron.id, exc_info=True)
        # The other crons of the thread would wait for the same lock.
        held = isinstance(exc.__cause__, LockNotAvailable)
        left_alone.add((cron.thread_id if held else None) or cron.id)
        return False
    except (BadSchedule, BadTimezone) as exc:
        disable(cron, f"schedule: {exc}")
        _save(cron)
    except Exception:
        # A bug of Spool's. Disable the cron, or the error may repeat every second.
        logger.exception("cron %s could not be fired", cron.id)
        disable(cron, "schedule: could not compute its next slot")
        _save(cron)
    return True


def _fire(cron: Cron, now: datetime) -> None:
    left_out = set_first_slot(cron, now)
    if left_out is not None:
        firing = _make(cron)
        firing.missed = left_out + move_on(cron, now)
        firing.save(force_insert=True)
    _save(cron)


def _make(cron: Cron) -> CronFiring:
    """Create the run for the cron's slot; the firing records an error, if any."""
    firing = new_firing(cron)
    try:
        with traced(cron), transaction.atomic():
            run = make_run(cron)
    except OperationalError:
        raise
    except NotFound as exc:
        firing.error = _what_is_gone(cron) or str(exc.detail)
        disable(cron, firing.error)
    except APIException as exc:
        firing.error = str(exc.detail)
    except Exception:
        # An unexpected error must not block this cron's later slots, nor other crons.
        logger.exception("cron %s: its run could not be created", cron.id)
        firing.error = "Internal Server Error"
    else:
        note_run(firing, run)
    return firing


def run_now(cron: Cron, *, caller: Creator | None = None) -> Run:
    """Fire a cron outside of its schedule. Raises what `make_run` raises.

    The run is the creator's, so a `caller` who could not create it is refused. The
    policy was asked about the given `cron`: raises 409 if its run has changed since.
    """
    known = cron
    with transaction.atomic():
        cron = locked(cron)
        if caller:
            check_same_runs(known, cron)
            check_can_create(caller, cron)
        run = make_run(cron)
        CronFiring.objects.create(
            cron=cron,
            run_id=run.id,
            thread_id=run.thread_id,
            status=Run.Status.PENDING,
        )
    return run


def record_results() -> None:
    """Copy the runs' status to their firings, since stateless runs are deleted."""
    with connection.cursor() as cursor:
        cursor.execute(RECORD_RESULTS)


def sweep_firings() -> int:
    """Delete old firings, and clear the status of those whose runs were deleted.

    Return the number of deleted firings.
    """
    age = timedelta(days=settings.CRON_FIRINGS_TTL_DAYS)
    deleted, _ = CronFiring.objects.filter(fired_at__lt=Now() - age).delete()
    with connection.cursor() as cursor:
        cursor.execute(FORGET_DELETED_RUNS)
    return deleted


def _what_is_gone(cron: Cron) -> str:
    """Say whether the thread or the assistant is gone; "" if neither is."""
    creator = Creator.from_json(cron.creator)
    threads = Thread.objects.visible_to(creator.threads)
    if cron.thread_id and not threads.filter(pk=cron.thread_id).exists():
        return f"Thread {cron.thread_id} is gone"
    assistants = Assistant.objects.usable_by(creator.assistants)
    if not assistants.filter(pk=cron.assistant_id).exists():
        return f"Assistant {cron.assistant_id} is gone"
    return ""


def _save(cron: Cron) -> None:
    # The owner has not changed the cron, so `updated_at` stays.
    cron.save(update_fields=["enabled", "disabled_reason", "next_run_date", "missed"])


RECORD_RESULTS = """
UPDATE cron_firings SET status = runs.status, error = coalesce(
    (runs.error ->> 'error') || ': ' || (runs.error ->> 'message'), '')
FROM runs
WHERE runs.id = cron_firings.run_id AND cron_firings.id IN (
    SELECT firing.id FROM cron_firings firing JOIN runs ON runs.id = firing.run_id
    WHERE firing.status IN ('pending', 'running') AND firing.status <> runs.status
    FOR UPDATE OF firing SKIP LOCKED
)
"""

FORGET_DELETED_RUNS = """
UPDATE cron_firings SET status = ''
WHERE status IN ('pending', 'running')
    AND NOT EXISTS (SELECT FROM runs WHERE runs.id = cron_firings.run_id)
"""
