"""Colours of statuses, in lists and on pages."""

from __future__ import annotations

from django.utils.html import format_html
from django.utils.safestring import SafeString

GOOD, BAD, WARN, INFO = "success", "danger", "warning", "info"
COLOURS = {
    # Runs, attempts and steps; threads; workers; webhooks; crons; API keys.
    "pending": INFO,
    "running": INFO,
    "success": GOOD,
    "error": BAD,
    "timeout": BAD,
    "interrupted": WARN,
    "rolled_back": WARN,
    "handed_back": INFO,
    "cancelled": WARN,
    "lost": BAD,
    "idle": GOOD,
    "busy": INFO,
    "alive": GOOD,
    "silent": WARN,
    "drains": WARN,
    "gone": INFO,
    "delivered": GOOD,
    "waiting": INFO,
    "trying again": WARN,
    "given up": BAD,
    "enabled": GOOD,
    "paused": WARN,
    "disabled": BAD,
    "ended": INFO,
    "late": BAD,
    "used up": BAD,
    "current": GOOD,
    "valid": GOOD,
    "revoked": INFO,
    "expired": WARN,
}
CLASSES = {GOOD: "good", BAD: "bad", WARN: "warn", INFO: "info"}


def css_class(status: str) -> str:
    """The CSS class in `console.css` for a status."""
    return CLASSES[COLOURS.get(status, INFO)]


def badge(status: str) -> SafeString:
    text = status.replace("_", " ")
    return format_html('<span class="badge {}">{}</span>', css_class(status), text)
