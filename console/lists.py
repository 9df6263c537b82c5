"""Base classes for the admin's lists of big tables, which never count all rows."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.contrib import admin
from django.contrib.admin import ShowFacets
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from unfold.admin import ModelAdmin
from unfold.contrib.filters.admin import FieldTextFilter

from spool.console.paging import KeysetChangeList, Search
from spool.database.json import loads

# How many rows are shown if they are found in another order than that of the list.
MAX_FOUND = 1_000


class ExactTextFilter(FieldTextFilter):  # type: ignore[misc]
    """A text field that filters by whole values, so that an index is used."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.lookup_kwarg = self.field_path
        self.lookup_val = self.used_parameters.get(self.field_path, "")

    def expected_parameters(self) -> list[str | None]:
        return [self.field_path]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        # An empty field does not filter.
        wanted = self.value()
        return queryset.filter(**{self.field_path: wanted}) if wanted else queryset


class ChoiceFilter(admin.SimpleListFilter):
    """A filter that a link can also set to a value that is not among its choices."""

    def has_output(self) -> bool:
        return super().has_output() or self.value() is not None


class BigTableAdmin(ModelAdmin):  # type: ignore[misc]
    """Rows can be viewed, and searched by indexed fields, but not edited."""

    show_full_result_count = False
    show_facets = ShowFacets.NEVER
    list_per_page = 50
    list_disable_select_all = True
    # Filters with an index that has their rows in the list's order, or with few rows.
    indexed_filters: tuple[str, ...] = ()
    # Large columns that the list does not show.
    list_defer: tuple[str, ...] = ()

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> Any:
        return KeysetChangeList

    def searched(self, term: str) -> Search | None:
        """How the list searches for a term; None to search as Django does."""
        raise NotImplementedError

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """All rows, unsearched: the change list itself searches, by `searched`."""
        return queryset, False

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
        """Whether the user may execute actions: the permission `change` allows them.

        Users without it see no secrets in documents.
        """
        options = self.opts
        return bool(
            request.user.has_perm(f"{options.app_label}.change_{options.model_name}")
        )

    def searched(self, term: str) -> Search | None:
        """Search exact values, and the beginning of ids."""
        exactly = [Q((name, term)) for name in self.search_fields]
        return Search([*exactly, *self.with_id(term)])

    def with_id(self, term: str) -> list[Q]:
        """The row with this id, or the newest rows whose ids begin with the term."""
        first, last = ids_from(term) or (None, None)
        if first == last:
            return [Q((name, first)) for name in self.search_ids if first]
        rows: QuerySet[Any] = QuerySet(self.model)
        return [
            Q(
                pk__in=rows.filter((f"{name}__gte", first), (f"{name}__lte", last))
                .order_by(f"-{name}")
                .values("pk")[:MAX_FOUND]
            )
            for name in self.search_ids
        ]


def ids_in(text: str | None) -> list[UUID]:
    """A list with the id if `text` is a UUID, else an empty list."""
    try:
        return [UUID(text)] if text else []
    except ValueError:
        return []


# Fewer characters of an id would match too many rows.
MIN_PREFIX = 6


def ids_from(prefix: str) -> tuple[UUID, UUID] | None:
    """The lowest and highest possible id with this prefix; None if it isn't one."""
    digits = prefix.replace("-", "").lower()
    if not MIN_PREFIX <= len(digits) <= 32 or set(digits) - set("0123456789abcdef"):
        return None
    return UUID(digits.ljust(32, "0")), UUID(digits.ljust(32, "f"))


def metadata_filter(term: str) -> Q | None:
    """A filter on metadata for `{"a": 1}` or `a=1`; None for other terms."""
    key, separator, value = term.partition("=")
    try:
        wanted = loads(term) if term.startswith("{") else {key: loads(value)}
    except (ValueError, RecursionError):
        wanted = {key: value}
    if term.startswith("{") or (separator and key):
        return Q(metadata__contains=wanted) if isinstance(wanted, dict) else None
    return None
