"""JSON documents as trees that can be unfolded, for large states."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from spool.console.redaction import HIDDEN, is_secret, without_secrets
from spool.database.json import dumps

# Limits of one tree: its nodes, its depth, and the length of a text.
MAX_NODES = 2_000
MAX_DEPTH = 12
MAX_TEXT = 2_000


def tree(value: Any, *, hides_secrets: bool = False) -> SafeString:
    """A document as nested HTML lists. Nodes beyond the limits are only counted."""
    return _Tree(hides_secrets).node(value, 0)


class _Tree:
    def __init__(self, hides_secrets: bool) -> None:
        self._left = MAX_NODES
        self._hides_secrets = hides_secrets

    def node(self, value: Any, depth: int) -> SafeString:
        if isinstance(value, dict):
            return self._branch(list(value.items()), "{%d}", depth)
        if isinstance(value, list):
            return self._branch(list(enumerate(value)), "[%d]", depth)
        text = _scalar(value)
        more = f"… ({len(text)} characters)" if len(text) > MAX_TEXT else ""
        shown = text[:MAX_TEXT]
        if self._hides_secrets:
            shown = without_secrets(shown)
        return format_html("<code>{}{}</code>", shown, more)

    def _branch(
        self, items: list[tuple[Any, Any]], size: str, depth: int
    ) -> SafeString:
        label = size % len(items)
        if not items or depth >= MAX_DEPTH or self._left <= 0:
            return format_html('<span class="subtle">{}</span>', label)
        rows = format_html_join("", "<li><b>{}</b> {}</li>", self._rows(items, depth))
        is_open = "open" if depth == 0 else ""
        return format_html(
            '<details {}><summary>{}</summary><ul class="tree">{}</ul></details>',
            is_open,
            label,
            rows,
        )

    def _rows(
        self, items: list[tuple[Any, Any]], depth: int
    ) -> Iterator[tuple[Any, SafeString]]:
        for number, (key, value) in enumerate(items):
            if self._left <= 0:
                yield "…", format_html("{} more", len(items) - number)
                return
            self._left -= 1
            is_hidden = self._hides_secrets and value and is_secret(str(key))
            yield key, self.node(HIDDEN if is_hidden else value, depth + 1)


def _scalar(value: Any) -> str:
    """A string as it is, other values as JSON."""
    return value if isinstance(value, str) else dumps(value).decode()
