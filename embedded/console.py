"""What the supervisor prints: text, or JSON objects (`LOG_JSON=true`) like all logs."""

from __future__ import annotations

import json
import os
import sys
from datetime import UTC, datetime

TRUE = {"1", "true", "yes", "on"}


def is_json() -> bool:
    return os.environ.get("LOG_JSON", "").strip().lower() in TRUE


def say(text: str, *, level: str = "INFO") -> None:
    """Print a text: to stderr, unless it is only information."""
    file = sys.stdout if level == "INFO" else sys.stderr
    print(as_lines(text, level=level), file=file, flush=True)


def as_lines(text: str, *, level: str = "INFO") -> str:
    """A text in the form of the log. Lines that are already JSON stay unchanged."""
    if not is_json():
        return text
    lines = (line for line in text.splitlines() if line.strip())
    return "\n".join(
        line if line[0] == "{" else _as_json(line, level) for line in lines
    )


def message_of(line: str) -> str:
    """The message of a line of a log, which may be text or JSON."""
    if line.startswith("{"):
        try:
            return str(json.loads(line)["message"])
        except (ValueError, LookupError, TypeError):
            pass
    return line


def _as_json(line: str, level: str) -> str:
    time = datetime.now(UTC).isoformat()
    about = {"time": time, "level": level, "logger": "spool.embedded"}
    return json.dumps({**about, "message": line.strip()})
