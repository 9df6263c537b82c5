"""Web, worker and beat: forked, so that they share the memory of what they import.

A child is what `python -m` would have started, without an interpreter of its own.
"""

from __future__ import annotations

import atexit
import gc
import runpy
import shlex
import sys
import warnings
from collections.abc import Callable
from functools import partial
from typing import IO

from setproctitle import setproctitle

from spool.embedded import processes


def load(preload: Callable[[], object]) -> None:
    """Import what the programs share, by calling `preload`."""
    preload()
    gc.collect()
    # A collection in a child would write to every page that they share.
    gc.freeze()


def start(
    module: str,
    arguments: list[str],
    *,
    output: IO[bytes],
    errors: IO[bytes] | None = None,
    death_signal: int,
    before: Callable[[], object] | None = None,
) -> processes.Forked:
    """What `python -m module arguments` would be, after calling `before`."""
    program = partial(_run, module, arguments, before)
    return processes.fork(
        program, output=output, errors=errors, death_signal=death_signal
    )


def _run(
    module: str, arguments: list[str], before: Callable[[], object] | None
) -> None:
    setproctitle(shlex.join([sys.executable, "-m", module, *arguments]))
    sys.argv = [module, *arguments]
    warnings.simplefilter("ignore")
    if before:
        before()
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    finally:  # Which a forked child would skip.
        atexit._run_exitfuncs()
