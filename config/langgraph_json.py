"""`langgraph.json`, read once, and the objects that its `path.py:name` values name."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

from django.conf import settings

from config.env import stop


@cache
def langgraph_json() -> dict[str, Any]:
    """The parsed file. A missing or malformed one stops the process with one line."""
    path = settings.LANGGRAPH_CONFIG
    try:
        parsed = json.loads(path.read_text(encoding="utf-8"))
    except OSError as exc:
        stop(f"cannot read {path}: {exc.strerror}; set LANGGRAPH_CONFIG or --config")
    except ValueError as exc:
        stop(f"{path} is not JSON: {exc}")
    if not isinstance(parsed, dict):
        stop(f"{path} must hold a JSON object")
    return parsed
