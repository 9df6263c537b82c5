"""Which workers of this machine have died, without waiting for their lease.

Each worker holds the lock of a file that is named after it in `SPOOL_HOME`. The kernel
lets go of it when the process ends, in whatever way, and of no other: process ids are
used again, and mean something else in each container.
"""

from __future__ import annotations

import fcntl
import logging
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from uuid import UUID

from django.conf import settings

logger = logging.getLogger(__name__)


def folder() -> Path:
    return Path(settings.SPOOL_HOME) / "workers"


class Presence:
    """The lock of one worker. Where there can be none, its lease has to do."""

    def __init__(self) -> None:
        self._file: int | None = None
        self._path: Path | None = None

    def announce(self, worker_id: UUID) -> None:
        self.withdraw()
        path = folder() / str(worker_id)
        # Others must not see it before it is locked.
        hidden = path.with_name(f".{worker_id}")
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._file = os.open(hidden, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            hidden.rename(path)
        except OSError as exc:
            logger.info("no lock in SPOOL_HOME, a lease has to do: %s", exc)
            return
        self._path = path

    def withdraw(self) -> None:
        """For a worker that leaves by itself, or goes on under another id."""
        if self._path:
            self._path.unlink(missing_ok=True)
        if self._file is not None:
            os.close(self._file)
        self._file = self._path = None


def bury(expire: Callable[[Sequence[UUID]], object]) -> None:
    """Call `expire` with the workers of this machine that have died, if there are any."""
    dead: dict[UUID, Path] = {}
    with suppress(OSError):
        for path in folder().iterdir():
            if not path.name.startswith(".") and _is_free(path):
                with suppress(ValueError):
                    dead[UUID(path.name)] = path
    if not dead:
        return
    expire(list(dead))
    # Only now: a tick that fails leaves them to the next one.
    for path in dead.values():
        path.unlink(missing_ok=True)


def _is_free(path: Path) -> bool:
    try:
        file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    finally:
        os.close(file)
    return True
