"""Gives memory back to the system after a burst of large bodies.

glibc keeps what was freed for the arenas that its threads have, for ever: after ten
bodies at once a process would stay as large as it was at its peak.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
from collections.abc import Callable
from typing import Any

# A request or an answer of so many bytes is worth a look.
LARGE_BYTES = 2**20
# Pause, in seconds, in which more of them may come.
TRIM_DELAY_SECS = 5.0
MAX_ARENAS = 2
_M_ARENA_MAX = -8

_trimming: asyncio.TimerHandle | None = None


def bound_arenas() -> None:
    """Let threads share arenas, so that less is kept apart. Before there are threads."""
    if mallopt := _function("mallopt"):
        mallopt(_M_ARENA_MAX, MAX_ARENAS)


def trim_soon() -> None:
    """Give back what is free, once no more large bodies come."""
    global _trimming
    if _trimming:
        _trimming.cancel()
    _trimming = asyncio.get_running_loop().call_later(TRIM_DELAY_SECS, _trim)


def _trim() -> None:
    global _trimming
    _trimming = None
    asyncio.get_running_loop().run_in_executor(None, _give_back)


def _give_back() -> None:
    # A request and its view refer to each other, and to the body.
    gc.collect()
    if malloc_trim := _function("malloc_trim"):
        malloc_trim(0)


def _function(name: str) -> Callable[..., Any] | None:
    """One of glibc's; other C libraries have their own ways."""
    return getattr(ctypes.CDLL(None), name, None)
