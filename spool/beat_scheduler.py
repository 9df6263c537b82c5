"""The scheduler of django-celery-beat, extended to survive outages of Postgres."""

from __future__ import annotations

import logging
import time
from contextlib import suppress
from datetime import datetime
from typing import Any

from django.conf import settings
from django.db import InterfaceError, OperationalError, close_old_connections
from django_celery_beat.schedulers import DatabaseScheduler

from spool.config.env import beat_file

logger = logging.getLogger(__name__)

AWAY = (OperationalError, InterfaceError)
# Pause between retries while Postgres is away, in seconds.
RETRY_SECS = 1.0


class RetryingScheduler(DatabaseScheduler):  # type: ignore[misc]  # It has no types.
    """Waits for Postgres at start, and uses the last known schedule during outages.

    If beat ended instead, the supervisor would give up after some restarts and stop.
    """

    def tick(self, *args: Any, **kwargs: Any) -> Any:
        _note_time()
        return super().tick(*args, **kwargs)

    def setup_schedule(self) -> None:
        while True:
            try:
                super().setup_schedule()
                return
            except AWAY as exc:
                logger.warning("Postgres is away, retrying: %s", exc)
            time.sleep(RETRY_SECS)
            close_old_connections()
            self._initial_read = True

    def all_as_schedule(self) -> Any:
        try:
            return super().all_as_schedule()
        except AWAY as exc:
            if self._schedule is None:
                raise
            logger.warning("could not read the schedule: %s", exc)
            # Read the schedule again at the next access.
            self._last_full_sync = datetime.min
            return self._schedule


def _note_time() -> None:
    """Update the file that `spool health beat` checks, which reports failures."""
    with suppress(OSError):
        # On a machine that only runs beat, nothing else creates the directory.
        settings.SPOOL_HOME.mkdir(mode=0o700, parents=True, exist_ok=True)
        beat_file(settings.SPOOL_HOME).touch(mode=0o600)
