"""Pages of the rows that clients request by `limit` and `offset`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from django.db.models import Model, QuerySet
from rest_framework.pagination import BasePagination
from rest_framework.response import Response

M = TypeVar("M", bound=Model)
T = TypeVar("T")

FIRST_PAGE = {"limit": 10, "offset": 0}


class SearchPagination(BasePagination):
    """The pages of the `*/search` endpoints, whose headers say whether more rows exist."""

    def __init__(self) -> None:
        self.headers: dict[str, str] = {}

    def cut(self, found: list[T], limit: int, offset: int) -> list[T]:
        """The page of rows that were read together with one more.

        `X-Pagination-Total` is the official server's name. It is not the total, but the
        offset plus the returned rows, plus one if there are more.
        """
        self.headers = {"X-Pagination-Total": str(offset + len(found))}
        if len(found) > limit:
            self.headers["X-Pagination-Next"] = str(offset + limit)
        return found[:limit]

    def get_paginated_response(self, data: Any) -> Response:
        return Response(data, headers=self.headers)


def rows_of_page(rows: QuerySet[M], query: Mapping[str, Any]) -> QuerySet[M]:
    """The page of a list, whose answer has no headers."""
    return rows[query["offset"] : query["offset"] + query["limit"]]


def searched(query: dict[str, Any], *names: str) -> dict[str, Any]:
    """The value of a search for the policy. A count has that of the first page."""
    page = {name: query.get(name, first) for name, first in FIRST_PAGE.items()}
    return {**{name: query[name] for name in names}, **page}
