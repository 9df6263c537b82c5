"""Web, worker and beat: forked, so that they share the memory of what they import.

A child is what `python -m` would have started, without an interpreter of its own.
"""

from __future__ import annotations

import atexit
import gc
import os
import runpy
import shlex
import sys
import warnings
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import IO

from setproctitle import setproctitle

from embedded import processes


def load() -> None:
    """Import what the programs share. Settings are read from the environment here."""
    import_module("config.preload")
    gc.collect()
    # A collection in a child would write to every page that they share.
    gc.freeze()


def start(
    module: str,
    arguments: list[str],
    *,
    root: Path,
    output: IO[bytes],
    death_signal: int,
) -> processes.Forked:
    """What `python -m module arguments` would be, started in `root`."""
    program = partial(_run, module, arguments, root)
    return processes.fork(program, output=output, death_signal=death_signal)


def _run(module: str, arguments: list[str], root: Path) -> None:
    setproctitle(shlex.join([sys.executable, "-m", module, *arguments]))
    os.chdir(root)
    sys.argv = [module, *arguments]
    warnings.simplefilter("ignore")
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    finally:  # Which a forked child would skip.
        atexit._run_exitfuncs()
