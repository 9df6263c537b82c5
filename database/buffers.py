"""Replaces connections to Postgres whose buffers have grown.

Each connection keeps a buffer of the largest value that it has sent, and one of the
largest row that it has received, for as long as it is open.
"""

from __future__ import annotations

# The number of replacements so far. A connection that was opened before the last one is
# closed when it is idle.
_replacements = 0


def current() -> int:
    return _replacements


def replace_connections() -> None:
    """Replace the open connections of Django, each before its next use."""
    global _replacements
    _replacements += 1
