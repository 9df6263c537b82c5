"""Base classes for the admin's lists of big tables, which never count all rows."""

from __future__ import annotations

from functools import cached_property
from typing import Any
from uuid import UUID

from django.contrib.admin import ShowFacets
from django.core.paginator import Paginator
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from unfold.admin import ModelAdmin

from spool.database.json import loads

# Rows are counted, and listed, up to this number; beyond it, operators search.
MAX_ROWS = 10_000


class CappedPaginator(Paginator):  # type: ignore[type-arg]
    @cached_property
    def count(self) -> int:
        rows: QuerySet[Any] = self.object_list  # type: ignore[assignment]
        return rows.order_by().values("pk")[:MAX_ROWS].count()


class BigTableAdmin(ModelAdmin):  # type: ignore[misc]
    """Rows can be viewed, and searched by indexed fields, but not edited."""

    paginator = CappedPaginator
    show_full_result_count = False
    show_facets = ShowFacets.NEVER
    list_per_page = 50
    list_disable_select_all = True

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class ReadOnlyAdmin(BigTableAdmin):
    """Rows that only Spool writes."""

    # Fields, besides the primary key, that a search for an id includes.
    search_ids: tuple[str, ...] = ()

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_act_permission(self, request: HttpRequest) -> bool:
        """The permission `change` allows the actions, although rows are read-only."""
        options = self.opts
        return bool(
            request.user.has_perm(f"{options.app_label}.change_{options.model_name}")
        )

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """Search exact values, so that an index is used for any number of rows."""
        if not (term := search_term.strip()):
            return queryset, False
        found = Q()
        for name in self.search_fields:
            found |= Q((name, term))
        if ids := ids_from(term):
            for name in self.search_ids:
                first, last = ids
                found |= Q((f"{name}__gte", first), (f"{name}__lte", last))
        return queryset.filter(found | self.more_found(term)), False

    def more_found(self, term: str) -> Q:
        """Further rows that a search finds; they must be found by an index, too."""
        return Q()


def ids_in(text: str | None) -> list[UUID]:
    """A list with the id if `text` is one, else an empty list."""
    try:
        return [UUID(text)] if text else []
    except ValueError:
        return []


# Fewer characters of an id would match too many rows.
MIN_PREFIX = 6


def ids_from(prefix: str) -> tuple[UUID, UUID] | None:
    """The first and the last id that begin with these characters, if any do."""
    digits = prefix.replace("-", "").lower()
    if not MIN_PREFIX <= len(digits) <= 32 or set(digits) - set("0123456789abcdef"):
        return None
    return UUID(digits.ljust(32, "0")), UUID(digits.ljust(32, "f"))


def metadata_filter(term: str) -> Q | None:
    """`{"a": 1}`, or `a=1`, as a filter on metadata; None for other terms."""
    key, separator, value = term.partition("=")
    try:
        wanted = loads(term) if term.startswith("{") else {key: loads(value)}
    except (ValueError, RecursionError):
        wanted = {key: value}
    if term.startswith("{") or (separator and key):
        return Q(metadata__contains=wanted) if isinstance(wanted, dict) else None
    return None
