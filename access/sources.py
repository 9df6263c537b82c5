"""Where callers come from: settings, or `auth.path` in langgraph.json."""

from __future__ import annotations

from django.conf import settings

from config.langgraph_json import section


def is_open() -> bool:
    """Nobody has to log in."""
    return not settings.AUTH and not has_handlers()


def has_handlers() -> bool:
    """langgraph.json names handlers of its own."""
    return bool(section("auth").get("path"))
