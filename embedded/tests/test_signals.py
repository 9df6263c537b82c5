"""A signal to a new child does not run its parent's handlers."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

PARENT = """
import os, signal, sys
from spool.embedded import processes

signal.signal(signal.SIGTERM, lambda *_: print("the parent's answer", flush=True))
os.register_at_fork(after_in_child=lambda: os.kill(os.getpid(), signal.SIGTERM))
with open(sys.argv[1], "wb") as log:
    child = processes.fork(lambda: None, output=log, death_signal=signal.SIGKILL)
    print(child.wait(), flush=True)
    os.kill(os.getpid(), signal.SIGTERM)
"""


def test_a_child_that_is_told_at_once_just_ends(tmp_path: Path) -> None:
    parent = subprocess.run(
        [sys.executable, "-c", PARENT, str(tmp_path / "log")],
        capture_output=True,
        text=True,
        check=True,
    )

    # The child's exit status, and then the parent, which handles signals again.
    assert parent.stdout.splitlines() == ["-15", "the parent's answer"]
    assert parent.stderr == ""
