"""For tests of two at once: the moment at which one waits for the other."""

from __future__ import annotations

import time

from django.db import connection


def wait_until_blocked() -> None:
    """Until somebody waits for a lock."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        with connection.cursor() as cursor:
            cursor.execute("SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)")
            if cursor.fetchone()[0]:
                return
        time.sleep(0.01)
    raise TimeoutError("nobody waits for a lock")
