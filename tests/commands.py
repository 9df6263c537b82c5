"""Start `spool` commands: by a fork if tests have prepared one, else as users do."""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from spool.embedded import processes
from spool.tests.forking import ForkServer, Program

ROOT = Path(__file__).resolve().parent.parent
RUN_SECS = 180
# Set while the tests run, but not by the benchmark.
fork_server: ForkServer | None = None


def start_program(
    *arguments: str,
    environment: Mapping[str, str],
    output: Path,
    errors: Path | None = None,
    folder: Path = ROOT,
    # Another one than SIGKILL lets a program stop its children if the tests are killed.
    death_signal: signal.Signals = signal.SIGKILL,
    is_quiet: bool = False,
    forks: bool = True,
) -> subprocess.Popen[bytes] | Program:
    """Start `spool` with these arguments. Its output is appended to the files.

    If `is_quiet`, Python prints no warnings. Without `forks`, a new interpreter starts.
    """
    if fork_server and forks and fork_server.can_start(environment):
        return fork_server.start(
            *arguments,
            environment=environment,
            folder=folder,
            output=output,
            errors=errors,
            death_signal=death_signal,
            is_quiet=is_quiet,
        )
    quiet = ["-W", "ignore"] if is_quiet else []
    with output.open("ab") as out, (errors or output).open("ab") as err:
        return processes.spawn(
            [sys.executable, *quiet, "-m", "spool", *arguments],
            output=out,
            errors=err.fileno(),
            death_signal=death_signal,
            env=environment,
            cwd=folder,
        )


def run_program(
    *arguments: str, environment: Mapping[str, str]
) -> subprocess.CompletedProcess[str]:
    """Run `spool` with these arguments until it ends."""
    with tempfile.TemporaryDirectory(prefix="spool-") as folder:
        output, errors = Path(folder) / "output", Path(folder) / "errors"
        program = start_program(
            *arguments, environment=environment, output=output, errors=errors
        )
        try:
            status = program.wait(timeout=RUN_SECS)
        finally:
            program.kill()
        said, complained = output.read_text(), errors.read_text()
    return subprocess.CompletedProcess(arguments, status, said, complained)
