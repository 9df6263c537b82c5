"""Deletes what has expired. Reads don't see it before that, so nobody waits for this."""

from __future__ import annotations

import logging

from django.db import connection

logger = logging.getLogger(__name__)

# Of one transaction: its locks are held for some milliseconds.
BATCH = 1000

# What somebody holds is being written: it lives on, or the next sweep finds it.
SWEEP = """
WITH expired AS MATERIALIZED (
    SELECT id FROM store_items WHERE expires_at <= now()
    ORDER BY expires_at LIMIT %(batch)s FOR UPDATE SKIP LOCKED
)
DELETE FROM store_items USING expired WHERE store_items.id = expired.id
"""


def sweep_items(*, batch: int = BATCH) -> int:
    """Delete the items whose time is over, of all owners; how many there were."""
    deleted = 0
    while True:
        with connection.cursor() as cursor:
            cursor.execute(SWEEP, {"batch": batch})
            found: int = cursor.rowcount
        deleted += found
        if found < batch:
            break
    if deleted:
        logger.info("store: deleted %s items that had expired", deleted)
    return deleted
