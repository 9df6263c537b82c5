"""SPOOL_HOME: a private directory, with a lock and a record of its processes."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import IO

from spool.embedded.processes import CannotStart, Mark, end_leftover


class Home:
    """Holds the lock of a home for as long as this process lives."""

    def __init__(self, path: Path) -> None:
        self.path = path.resolve()
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.logs = self.path / "logs"
            # The home may be an existing directory that other users can read.
            self.logs.mkdir(mode=0o700, exist_ok=True)
            # The home may be in a project's folder, and must not be committed.
            if not (ignored := self.path / ".gitignore").exists():
                ignored.write_text("*\n", encoding="utf-8")
            self._lock: IO[str] = (self.path / "lock").open("a+", encoding="utf-8")
        except OSError as exc:
            raise CannotStart(f"SPOOL_HOME: {exc.filename}: {exc.strerror}") from None
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self.close()
            raise CannotStart(
                f"a server is already running in {self.path}; stop it, or set SPOOL_HOME"
            ) from None
        # A child must not hold the lock after this process has ended.
        os.register_at_fork(after_in_child=self._lock.close)

    def close(self) -> None:
        """Release the lock, which the end of the process does, too."""
        self._lock.close()

    def log(self, name: str) -> IO[bytes]:
        return (self.logs / f"{name}.log").open("ab", buffering=0)

    def clear_leftovers(self) -> None:
        """End the processes that a killed supervisor left behind."""
        try:
            marks = json.loads((self.path / "processes.json").read_text())
        except (OSError, ValueError):
            return
        for mark in marks:
            end_leftover(Mark(**mark))

    def remember(self, marks: Iterable[Mark]) -> None:
        self._write("processes.json", [mark.as_dict() for mark in marks])

    def publish_urls(self, urls: dict[str, str]) -> None:
        """Publish the servers' URLs for commands without URLs in their environment."""
        self._write("urls.json", urls)

    def withdraw_urls(self) -> None:
        (self.path / "urls.json").unlink(missing_ok=True)

    def _write(self, name: str, content: object) -> None:
        draft = self.path / f"{name}.new"
        draft.touch(mode=0o600)  # A URL may contain a password.
        draft.write_text(json.dumps(content), encoding="utf-8")
        draft.rename(self.path / name)
