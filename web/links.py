"""Absolute links, with a scheme and a host."""

from __future__ import annotations

from django.conf import settings
from django.http import HttpRequest


def absolute_url(request: HttpRequest, path: str) -> str:
    """A URL below `SPOOL_PUBLIC_URL` or the request's host; `path` has the prefix."""
    if settings.PUBLIC_URL:
        return f"{settings.PUBLIC_URL.rstrip('/')}{path}"
    return request.build_absolute_uri(path)
