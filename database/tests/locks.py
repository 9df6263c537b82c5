"""For tests of concurrency: wait until one transaction blocks another."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from django.db import connection, transaction

from spool.database.tests.together import closing


def answer_behind(first: Callable[[], Any], second: Callable[[], Any]) -> Any:
    """The result of `second`, which has to wait for the transaction of `first`."""
    with ThreadPoolExecutor(1) as pool:
        with transaction.atomic():
            first()
            waiting = pool.submit(closing(second))
            wait_until_blocked()
        return waiting.result(timeout=60)


def wait_until_blocked() -> None:
    """Return when a connection waits for a lock."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with connection.cursor() as cursor:
            cursor.execute("SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)")
            if cursor.fetchone()[0]:
                return
        time.sleep(0.01)
    raise TimeoutError("no session waits for a lock")
