"""How many connections each caller may have open to one web process."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from django.conf import settings
from rest_framework.exceptions import Throttled


class TooManyConnections(Throttled):
    default_detail = "Too many connections"
    extra_detail_singular = extra_detail_plural = ""


_open: Counter[str] = Counter()


def check_connections(who: str) -> None:
    """Raises `TooManyConnections` if the caller has as many as are allowed."""
    limit = settings.EVENT_STREAM_MAX_CONNECTIONS
    if limit and _open[who] >= limit:
        raise TooManyConnections


@contextmanager
def counted(who: str) -> Iterator[None]:
    """Count one connection while it is open. Use it on the event loop only."""
    _open[who] += 1
    try:
        yield
    finally:
        _open[who] -= 1
        if not _open[who]:
            del _open[who]
