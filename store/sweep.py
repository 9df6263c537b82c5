"""Delete expired items. Reads ignore them already, so this is not urgent."""

from __future__ import annotations

import logging

from django.db import connection

logger = logging.getLogger(__name__)

# Items per transaction: its locks are held for a few milliseconds.
BATCH = 1000

# A locked item is being written: it is renewed, or the next sweep finds it.
SWEEP = """
WITH expired AS MATERIALIZED (
    SELECT id FROM store_items WHERE expires_at <= now()
    ORDER BY expires_at LIMIT %(batch)s FOR UPDATE SKIP LOCKED
)
DELETE FROM store_items USING expired WHERE store_items.id = expired.id
"""


def sweep_items(*, batch: int = BATCH) -> int:
    """Delete the expired items of all owners. Return their number."""
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
