"""What exceptions of graphs look like: on the wire, and to operators."""

from __future__ import annotations

import traceback

from spool.database.json import text_of
from spool.telemetry.logs import without_secrets

MAX_TRACEBACK = 8_000


def described(exc: BaseException) -> dict[str, str]:
    """An exception as the wire describes it, without the keys that some quote."""
    return {"error": type(exc).__name__, "message": without_secrets(text_of(exc))}


def traceback_of(exc: BaseException) -> str:
    """For operators alone. Of a long one the end, which says most."""
    try:
        text = "".join(traceback.format_exception(exc))
    except Exception:  # Raised by the exception's own code.
        text = type(exc).__name__
    return without_secrets(text[-MAX_TRACEBACK:])
