"""The lock of a thread's row, which decisions about the thread's runs need."""

from __future__ import annotations

from uuid import UUID

from django.db import connection

LOCK = "SELECT id FROM threads WHERE id = %(thread_id)s FOR UPDATE"


def lock_thread(thread_id: UUID) -> bool:
    """Lock the thread's row until the transaction ends. False if it does not exist."""
    with connection.cursor() as cursor:
        cursor.execute(LOCK, {"thread_id": thread_id})
        return cursor.fetchone() is not None
