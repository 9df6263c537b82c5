"""Where callers come from: settings, or `auth.path` in langgraph.json."""

from __future__ import annotations

from django.conf import settings


def is_open() -> bool:
    """Nobody has to log in."""
    return not settings.AUTH
