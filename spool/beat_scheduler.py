"""Beat's scheduler: the library's, which would end where Postgres is away."""

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
# Pause before Postgres is asked again, in seconds.
RETRY = 1.0


class RetryingScheduler(DatabaseScheduler):  # type: ignore[misc]  # It has no types.
    """Begins once Postgres is there, and goes by what it knows where that is away.

    A supervisor that starts beat again and again would give up, and all end with it.
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
                logger.warning("Postgres is away, trying again: %s", exc)
            time.sleep(RETRY)
            close_old_connections()
            self._initial_read = True

    def all_as_schedule(self) -> Any:
        try:
            return super().all_as_schedule()
        except AWAY as exc:
            if self._schedule is None:
                raise
            logger.warning("the schedule can't be read now: %s", exc)
            # Anew as soon as somebody asks for it.
            self._last_full_sync = datetime.min
            return self._schedule


def _note_time() -> None:
    """For `spool health beat`, which is told where this can't be written."""
    with suppress(OSError):
        beat_file(settings.SPOOL_HOME).touch(mode=0o600)
