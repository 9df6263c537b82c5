"""Links that clients of other servers follow: with a scheme and a host."""

from __future__ import annotations

from django.conf import settings
from django.http import HttpRequest


def absolute_url(request: HttpRequest, path: str) -> str:
    """Below `SPOOL_PUBLIC_URL`, or where the request came to; `path` has its prefix."""
    if settings.PUBLIC_URL:
        return f"{settings.PUBLIC_URL.rstrip('/')}{path}"
    return request.build_absolute_uri(path)
