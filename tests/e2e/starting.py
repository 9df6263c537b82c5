"""Start `spool serve` when it may fail to start."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from spool.embedded import processes
from spool.tests.commands import ROOT, run_program
from spool.tests.live import OURS, free_port


@contextmanager
def started(
    config: Path,
    tmp_path: Path,
    before: Callable[[], None] | None = None,
    command: str = "serve",
    **environment: str,
) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    """A server, and the file with its output."""
    inherited = {key: v for key, v in os.environ.items() if key not in OURS}
    given = {"SPOOL_HOME": str(tmp_path / "home"), "PORT": str(free_port())}
    output = tmp_path / "output"
    with output.open("wb") as file:
        process = processes.spawn(
            [sys.executable, "-m", "spool", command, "--config", str(config)],
            output=file,
            death_signal=signal.SIGTERM,
            env={**inherited, **given, **environment},
            cwd=ROOT,
            before=before,
        )
    try:
        yield process, output
    finally:
        processes.stop(process, signal.SIGTERM, 30)


def refused(
    config: Path, tmp_path: Path, *options: str, **environment: str
) -> list[str]:
    """Check that a start fails. Return the lines that it prints."""
    inherited = {key: v for key, v in os.environ.items() if key not in OURS}
    home = {"SPOOL_HOME": str(tmp_path / "home")}
    start = run_program(
        *("serve", "--config", str(config), *options),
        environment={**inherited, **home, **environment},
    )
    assert start.returncode == 1
    return (start.stdout + start.stderr).splitlines()


def reason_of_refusal(
    config: Path, tmp_path: Path, *options: str, **environment: str
) -> str:
    """Check that a start fails with one line, and return it."""
    lines = refused(config, tmp_path, *options, **environment)
    assert len(lines) == 1, "\n".join(lines)
    return lines[0]


@cache
def given_servers() -> dict[str, str]:
    """The tests' own servers, prepared, for starts that fail late."""
    servers = {name: os.environ[name] for name in ("DATABASE_URL", "REDIS_URL")}
    prepared = run_program("prepare", "--without-graphs", environment=os.environ)
    prepared.check_returncode()
    return servers
