"""Web, worker and beat: forked, so that they share the memory of imported modules.

A child runs like `python -m`, but without a new interpreter.
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
    """Import the modules that the programs share, by calling `preload`."""
    preload()
    gc.collect()
    # A garbage collection in a child would write to all shared pages.
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
    """Fork a child that runs `python -m module arguments` after calling `before`."""
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
    finally:  # A forked child would skip these.
        atexit._run_exitfuncs()
