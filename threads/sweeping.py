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

from threads.checkpoints import CONNECTION_FAULTS
from threads.models import Thread, ThreadQuerySet
from threads.services import BATCH, delete_threads, prune_state
from threads.ttl import ttl_config

logger = logging.getLogger(__name__)

# How long one sweep goes on, in seconds: the next one takes what is left.
MAX_SECONDS = 240.0

# The time of these threads begins anew: their old state goes again after it.
RENEW = """
UPDATE threads SET expires_at = now() + make_interval(secs => 60 * ttl_minutes)
WHERE id IN (
    SELECT id FROM threads
    WHERE expires_at <= now() AND ttl_strategy = 'keep_latest' AND status <> 'busy'
    ORDER BY expires_at LIMIT %s
    FOR UPDATE SKIP LOCKED
)
RETURNING id
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


def _delete_expired(size: int) -> tuple[int, int]:
    expired = Thread.objects.filter(
        expires_at__lte=Now(), ttl_strategy=Thread.TTLStrategy.DELETE
    ).exclude(status=Thread.Status.BUSY)
    return _delete("expired", expired.order_by("expires_at"), size)


def _delete_discarded(size: int) -> tuple[int, int]:
    """Threads of stateless runs, once nobody can come back for their result."""
    kept = timedelta(seconds=settings.RESUMABLE_STREAM_TTL_SECONDS)
    discarded = Thread.objects.filter(discarded_at__lte=Now() - kept)
    return _delete("discarded", discarded.order_by("discarded_at"), size)


@transaction.atomic
def _delete(kind: str, threads: ThreadQuerySet, size: int) -> tuple[int, int]:
    ids = list(threads.values_list("pk", flat=True)[:size])
    deleted = delete_threads(threads.filter(pk__in=ids), skip_locked=True)
    _count(kind, deleted)
    return deleted, deleted


def _prune_expired(size: int) -> tuple[int, int]:
    with connection.cursor() as cursor:
        cursor.execute(RENEW, [size])
        ids = [thread_id for (thread_id,) in cursor.fetchall()]
    pruned = sum(_prune(thread_id) for thread_id in ids)
    _count("pruned", pruned)
    return len(ids), pruned


def _prune(thread_id: UUID) -> bool:
    try:
        return prune_state(thread_id, skip_locked=True)
    except (NotImplementedError, *CONNECTION_FAULTS) as exc:
        # Its turn comes again: one thread must not hold up the others.
        logger.warning("thread %s keeps all of its state: %s", thread_id, exc)
        return False


def _count(kind: str, threads: int) -> None:
    if threads:
        with connection.cursor() as cursor:
            cursor.execute(COUNT, [kind, threads])
