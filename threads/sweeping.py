"""Removes expired threads, old state, and discarded threads.

Rows are taken in small batches that skip locked ones, so that any number of sweeps can
run at once without blocking requests.
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

# The maximum duration of a sweep, in seconds. The next sweep removes the rest.
MAX_SECONDS = 240.0

# Restarts the TTL of a pruned thread, so that it is pruned again when the TTL expires.
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
    """Remove what has expired. Returns the number of threads of each kind."""
    deadline = time.monotonic() + seconds
    limit = ttl_config().sweep_limit
    # Temporary threads have no limit, since every stateless run leaves one.
    swept = {
        "discarded": _repeat(_delete_discarded, deadline, None),
        "expired": _repeat(_delete_expired, deadline, limit),
        "pruned": _repeat(_prune_expired, deadline, limit),
    }
    if any(swept.values()):
        logger.info(
            "swept threads: %(expired)d expired, %(pruned)d pruned to their latest "
            "state, %(discarded)d temporary",
            swept,
        )
    return swept


def _repeat(
    take_batch: Callable[[int], tuple[int, int]], deadline: float, limit: int | None
) -> int:
    """Take batches until none are left, up to `limit` threads.

    `take_batch` gets the size of a batch. It returns how many threads it took, and how
    many of them succeeded. Returns how many succeeded in all.
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
    """Expired threads without an active run, the earliest first."""
    expired = Thread.objects.filter(expires_at__lte=Now(), ttl_strategy=strategy)
    return expired.exclude(status=Thread.Status.BUSY).order_by("expires_at")


def _delete_expired(size: int) -> tuple[int, int]:
    return _delete("expired", _expired(Thread.TTLStrategy.DELETE), size)


def _delete_discarded(size: int) -> tuple[int, int]:
    """Delete threads of stateless runs whose result can no longer be fetched."""
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
    """Prune a thread. None: another process has locked it, or has already pruned it.

    The TTL is restarted in the same transaction, so that the next sweep finds the
    thread again if this one is killed.
    """
    with connection.cursor() as cursor:
        cursor.execute(RENEW, [thread_id])
        if not cursor.rowcount:
            return None
    try:
        return prune_state(thread_id)
    except (NotImplementedError, *CONNECTION_FAULTS) as exc:
        # A later sweep retries this thread, which must not block the others.
        logger.warning("thread %s was not pruned: %s", thread_id, exc)
        return False


def _count(kind: str, threads: int) -> None:
    if threads:
        with connection.cursor() as cursor:
            cursor.execute(COUNT, [kind, threads])
