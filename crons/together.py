"""Fire crons together: a few statements for a batch of any size.

A batch is one transaction. If anything fails, nothing is written, and the caller fires
the crons one by one. Crons that can only be fired alone are left to the caller, too.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from django.db import DatabaseError, connection, transaction
from django.db.models import Func, IntegerField, TextField
from django.db.models.functions import Cast, Coalesce
from rest_framework.exceptions import APIException

from spool.crons.creator import TRACE_CONTEXT
from spool.crons.models import Cron, CronFiring, CronQuerySet
from spool.crons.schedule import BadSchedule, BadTimezone
from spool.crons.services import allowed_run, database_now
from spool.crons.slots import move_on, set_first_slot
from spool.runs.batches import Batch, NotForBatch
from spool.runs.models import Run
from spool.telemetry import traces
from spool.web.errors import NotFound

logger = logging.getLogger(__name__)

# How many bytes of requests are held in memory at once.
MAX_BYTES = 2**20

KEEP_APART = "SET LOCAL lock_timeout = '250ms'; SET CONSTRAINTS ALL IMMEDIATE"

# The columns of a cron that a firing changes.
SAVED = ("id", "enabled", "disabled_reason", "next_run_date", "missed")
MOVE_ON = """
UPDATE crons SET enabled = moved.enabled, disabled_reason = moved.disabled_reason,
    next_run_date = moved.next_run_date, missed = moved.missed
FROM unnest(
    %s::uuid[], %s::boolean[], %s::text[], %s::timestamptz[], %s::integer[]
) AS moved (id, enabled, disabled_reason, next_run_date, missed)
WHERE crons.id = moved.id
"""


@dataclass(slots=True)
class Taken:
    """The ids of crons that were due, and of those that are no longer due."""

    ids: set[UUID] = field(default_factory=set)
    fired: set[UUID] = field(default_factory=set)


def fire_together(due: CronQuerySet, limit: int) -> Taken:
    """Fire due crons in one transaction, except those that must be fired one by one."""
    taken = Taken()
    try:
        with transaction.atomic():
            if small := _take(due, limit, taken):
                keep_apart()
                taken.fired = _fire(small, database_now())
    except DatabaseError:
        # For example, a lock timed out. It is logged when its cron is fired alone.
        return Taken(taken.ids)
    except Exception:
        logger.exception("crons could not be fired together; firing them one by one")
        return Taken(taken.ids)
    return taken


def _take(due: CronQuerySet, limit: int, taken: Taken) -> list[UUID]:
    """Lock due crons. Returns those whose requests fit into memory together."""
    size = _bytes_of("payload") + _bytes_of("given")
    rows = due.select_for_update(skip_locked=True).annotate(size=size)
    small, room = [], MAX_BYTES
    for cron_id, size_of_cron in rows.values_list("pk", "size")[:limit]:
        taken.ids.add(cron_id)
        if size_of_cron <= room:
            room -= size_of_cron
            small.append(cron_id)
    return small


def _bytes_of(column: str) -> Coalesce:
    text = Cast(column, TextField())
    size = Func(text, function="octet_length", output_field=IntegerField())
    return Coalesce(size, 0)


def _fire(cron_ids: list[UUID], now: datetime) -> set[UUID]:
    """Fire crons. Returns the ids of those that are no longer due."""
    batch = Batch()
    moved: dict[UUID, Cron] = {}
    firings: list[CronFiring] = []
    for cron in Cron.objects.filter(pk__in=cron_ids).order_by("next_run_date", "pk"):
        try:
            firing = _add(batch, cron, now)
        except (NotForBatch, NotFound, BadSchedule, BadTimezone):
            continue
        moved[cron.id] = cron
        firings += [firing] if firing else []
    results = batch.create()
    for firing in firings:
        result = results.get(firing.run_id) if firing.run_id else None
        if isinstance(result, (NotForBatch, NotFound)):
            del moved[firing.cron_id]
        elif isinstance(result, APIException):
            firing.run_id, firing.error = None, str(result.detail)
        elif isinstance(result, Run):
            note_run(firing, result)
    CronFiring.objects.bulk_create([one for one in firings if one.cron_id in moved])
    _save(moved.values())
    return set(moved)


def _add(batch: Batch, cron: Cron, now: datetime) -> CronFiring | None:
    """Add the cron's run to the batch. None if it has no slot to fire now."""
    left_out = set_first_slot(cron, now)
    if left_out is None:
        return None
    firing, trace = new_firing(cron), traced(cron)
    firing.missed = left_out + move_on(cron, now)
    try:
        with trace:
            run = allowed_run(cron)
            batch.add(run)
    except NotFound:
        raise
    except APIException as exc:
        firing.error = str(exc.detail)
    else:
        firing.run_id = run.run_id
    return firing


def _save(crons: Iterable[Cron]) -> None:
    # Their owners have not changed them, so `updated_at` stays.
    rows = [[getattr(cron, name) for name in SAVED] for cron in crons]
    columns = [list(column) for column in zip(*rows, strict=True)]
    if columns:
        with connection.cursor() as cursor:
            cursor.execute(MOVE_ON, columns)


def keep_apart() -> None:
    """Let each cron's errors be raised while it is fired, not at the batch's commit.

    Otherwise a lock or a constraint of one cron would make the others fail. Call it in
    the batch's transaction.
    """
    with connection.cursor() as cursor:
        cursor.execute(KEEP_APART)


def new_firing(cron: Cron) -> CronFiring:
    """The record of the firing of a cron's slot, without a run yet."""
    return CronFiring(cron=cron, slot=cron.next_run_date, status=Run.Status.ERROR)


def note_run(firing: CronFiring, run: Run) -> None:
    """Note the run that was created."""
    firing.run_id, firing.thread_id = run.id, run.thread_id
    firing.status = Run.Status.PENDING


def traced(cron: Cron) -> AbstractContextManager[None]:
    """The trace of a firing, which links to the request that created the cron."""
    about = {"spool.cron.id": str(cron.id), "spool.cron.slot": str(cron.next_run_date)}
    link = cron.creator.get(TRACE_CONTEXT)
    return traces.span("cron", link=link, attributes=about)
