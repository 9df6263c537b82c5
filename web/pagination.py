"""The pagination of the `*/search` endpoints."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from django.db.models import Model, QuerySet

M = TypeVar("M", bound=Model)
Q = TypeVar("Q", bound=QuerySet[Any])
T = TypeVar("T")

FIRST_PAGE = {"limit": 10, "offset": 0}


def page_of(
    rows: QuerySet[M], limit: int, offset: int
) -> tuple[list[M], dict[str, Any]]:
    """A page, and its headers. One more row is read to know whether more exist.

    `X-Pagination-Total` is the official server's name. It is not the total, but the
    offset plus the returned rows, plus one if there are more.
    """
    return page_read(rows, limit, offset, list)


def page_read(
    rows: Q, limit: int, offset: int, read: Callable[[Q], list[T]]
) -> tuple[list[T], dict[str, Any]]:
    """The same for rows that have already been read."""
    found = read(rows[offset : offset + limit + 1])
    page = found[:limit]
    headers = {"X-Pagination-Total": str(offset + len(found))}
    if len(found) > limit:
        headers["X-Pagination-Next"] = str(offset + limit)
    return page, headers


def searched(asked: dict[str, Any], *names: str) -> dict[str, Any]:
    """The value of a search for the policy. A count has that of the first page."""
    page = {name: asked.get(name, first) for name, first in FIRST_PAGE.items()}
    return {**{name: asked[name] for name in names}, **page}
