"""Removes what has had its time: expired threads, old state, discarded threads.

Rows are taken in small batches that skip what somebody else holds, so that any number
of sweeps may run at once, and none is in the way of a request.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from datetime import timedelta
from uuid import UUID

from django.conf import settings
from django.db import connection, transaction
from django.db.models.functions import Now

from spool.database.retries import CONNECTION_FAULTS
from spool.threads.models import Thread, ThreadQuerySet
from spool.threads.services import BATCH, delete_threads, prune_state
from spool.threads.ttl import ttl_config

logger = logging.getLogger(__name__)

# How long one sweep goes on, in seconds: the next one takes what is left.
MAX_SECONDS = 240.0

# The time of such a thread begins anew: its old state goes again after it.
RENEW = """
UPDATE threads SET expires_at = now() + make_interval(secs => 60 * ttl_minutes)
WHERE id = (
    SELECT id FROM threads
    WHERE id = %s AND expires_at <= now() AND status <> 'busy'
    FOR NO KEY UPDATE SKIP LOCKED
)
"""

COUNT = """
INSERT INTO swept_threads (kind, total, updated_at) VALUES (%s, %s, now())
ON CONFLICT (kind) DO UPDATE
SET total = swept_threads.total + excluded.total, updated_at = now()
"""


def sweep(*, seconds: float = MAX_SECONDS) -> dict[str, int]:
    """Remove what has had its time; how many threads of each kind."""
    deadline = time.monotonic() + seconds
    limit = ttl_config().sweep_limit
    # Temporary threads come with every stateless run: no limit holds them up.
    swept = {
        "discarded": _repeat(_delete_discarded, deadline, None),
        "expired": _repeat(_delete_expired, deadline, limit),
        "pruned": _repeat(_prune_expired, deadline, limit),
    }
    if any(swept.values()):
        logger.info(
            "swept threads: %(expired)d expired, %(pruned)d cut down to their latest "
            "state, %(discarded)d temporary",
            swept,
        )
    return swept


def _repeat(
    take_batch: Callable[[int], tuple[int, int]], deadline: float, limit: int | None
) -> int:
    """Take batches until there is nothing left, up to `limit` threads.

    A batch tells how many it took, and with how many of these it succeeded.
    """
    total = succeeded = 0
    while time.monotonic() < deadline:
        size = BATCH if limit is None else min(BATCH, limit - total)
        taken, done = take_batch(size) if size > 0 else (0, 0)
        if not taken:
            break
        total += taken
        succeeded += done
    return succeeded


def _expired(strategy: str) -> ThreadQuerySet:
    """Those whose time is over, the first ones first, but for those in use."""
    expired = Thread.objects.filter(expires_at__lte=Now(), ttl_strategy=strategy)
    return expired.exclude(status=Thread.Status.BUSY).order_by("expires_at")


def _delete_expired(size: int) -> tuple[int, int]:
    return _delete("expired", _expired(Thread.TTLStrategy.DELETE), size)


def _delete_discarded(size: int) -> tuple[int, int]:
    """Threads of stateless runs, once nobody can come back for their result."""
    kept = timedelta(seconds=settings.RESUMABLE_STREAM_TTL_SECONDS)
    discarded = Thread.objects.filter(discarded_at__lte=Now() - kept)
    return _delete("discarded", discarded.order_by("discarded_at"), size)


@transaction.atomic
def _delete(kind: str, threads: ThreadQuerySet, size: int) -> tuple[int, int]:
    ids = list(threads.values_list("pk", flat=True)[:size])
    deleted = delete_threads(threads.filter(pk__in=ids), by_sweep=True)
    _count(kind, deleted)
    return deleted, deleted


def _prune_expired(size: int) -> tuple[int, int]:
    expired = _expired(Thread.TTLStrategy.KEEP_LATEST)
    answers = [_prune(pk) for pk in expired.values_list("pk", flat=True)[:size]]
    pruned = answers.count(True)
    _count("pruned", pruned)
    return len(answers) - answers.count(None), pruned


@transaction.atomic
def _prune(thread_id: UUID) -> bool | None:
    """Prune a thread whose turn it is. None: somebody else holds it, or has done so.

    Its time begins anew in the same transaction: where a sweep is killed, the next one
    finds the thread again.
    """
    with connection.cursor() as cursor:
        cursor.execute(RENEW, [thread_id])
        if not cursor.rowcount:
            return None
    try:
        return prune_state(thread_id)
    except (NotImplementedError, *CONNECTION_FAULTS) as exc:
        # Its turn comes again: one thread must not hold up the others.
        logger.warning("thread %s keeps all of its state: %s", thread_id, exc)
        return False


def _count(kind: str, threads: int) -> None:
    if threads:
        with connection.cursor() as cursor:
            cursor.execute(COUNT, [kind, threads])
