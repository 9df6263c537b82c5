"""Formats exceptions of graphs for the wire and for operators."""

from __future__ import annotations

import traceback
from typing import Any

from langgraph.errors import UnknownInterruptError

from spool.database.json import text_of
from spool.telemetry.logs import without_secrets

MAX_TRACEBACK = 8_000


def described(exc: BaseException) -> dict[str, str]:
    """An exception in the wire's form. API keys that its message quotes are removed."""
    return {"error": type(exc).__name__, "message": without_secrets(text_of(exc))}


def refusal(exc: BaseException) -> dict[str, Any]:
    """Why a strict resume was refused, for event streaming; see `last_events`."""
    if not isinstance(exc, UnknownInterruptError):
        return {}
    why = {
        "reason": exc.reason,
        "interrupt_ids": list(exc.interrupt_ids),
        "pending_ids": list(exc.pending_ids),
    }
    return {"refusal": why}


def traceback_of(exc: BaseException) -> str:
    """The traceback, for operators only. A long one is cut to its end."""
    try:
        text = "".join(traceback.format_exception(exc))
    except Exception:  # The exception's own code may raise too.
        text = type(exc).__name__
    return without_secrets(text[-MAX_TRACEBACK:])
