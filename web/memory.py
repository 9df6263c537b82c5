"""Return memory to the system after a burst of large bodies.

glibc keeps freed memory in the arenas of its threads for ever: after ten concurrent
bodies a process would stay as large as at its peak.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
from collections.abc import Callable
from typing import Any

# Requests and responses from this size in bytes on trigger a trim.
LARGE_BYTES = 2**20
# Delay in seconds, to wait for more of them.
TRIM_DELAY_SECS = 5.0
MAX_ARENAS = 2
_M_ARENA_MAX = -8

_trimming: asyncio.TimerHandle | None = None


def bound_arenas() -> None:
    """Let threads share arenas, which keep less memory. Call before threads start."""
    if mallopt := _function("mallopt"):
        mallopt(_M_ARENA_MAX, MAX_ARENAS)


def trim_soon() -> None:
    """Return free memory to the system, once no more large bodies arrive."""
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
    """A function of glibc; None with other C libraries."""
    return getattr(ctypes.CDLL(None), name, None)
