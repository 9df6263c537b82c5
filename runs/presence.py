"""Finds dead workers of this machine without waiting for their lease to expire.

Each worker locks a file in `SPOOL_HOME` that is named after it. The kernel releases the
lock when the process ends, for any reason. Process ids would not do: they are reused,
and differ between containers.
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
    """The lock of one worker. Where files can't be locked, only its lease counts."""

    def __init__(self) -> None:
        self._file: int | None = None
        self._path: Path | None = None

    def announce(self, worker_id: UUID) -> None:
        self.withdraw()
        path = folder() / str(worker_id)
        # Other processes must not see the file before it is locked.
        hidden = path.with_name(f".{worker_id}")
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._file = os.open(hidden, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            hidden.rename(path)
        except OSError as exc:
            logger.info("no lock in SPOOL_HOME, only the lease is used: %s", exc)
            return
        self._path = path

    def withdraw(self) -> None:
        """Release the lock of a worker that exits, or continues under another id."""
        if self._path:
            self._path.unlink(missing_ok=True)
        if self._file is not None:
            os.close(self._file)
        self._file = self._path = None


def remove_dead(expire: Callable[[Sequence[UUID]], object]) -> None:
    """Call `expire` with the dead workers of this machine, if there are any."""
    dead: dict[UUID, Path] = {}
    with suppress(OSError):
        for path in folder().iterdir():
            if not path.name.startswith(".") and _is_free(path):
                with suppress(ValueError):
                    dead[UUID(path.name)] = path
    if not dead:
        return
    expire(list(dead))
    # Last, so that the next tick finds the files again if `expire` fails.
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
