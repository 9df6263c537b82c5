"""Base classes for the admin's lists of big tables, which never count all rows."""

from __future__ import annotations

import json
from functools import cached_property
from typing import Any
from uuid import UUID

from django.contrib.admin import ShowFacets
from django.core.paginator import Paginator
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.http import urlencode
from django.utils.safestring import SafeString
from unfold.admin import ModelAdmin
from unfold.decorators import display

from spool.database.json import dumps, from_jsonb, loads

# Rows are counted, and listed, up to this number; beyond it, operators search.
MAX_ROWS = 10_000
# Longer documents are cut: a page of the admin can't show megabytes.
MAX_CHARACTERS = 20_000


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
        text = Q(**dict.fromkeys(self.search_fields, term))
        for key in ids_in(term):
            for field in self.search_ids:
                text |= Q((field, key))
        return queryset.filter(text), False


def ids_in(text: str | None) -> list[UUID]:
    """A list with the id if `text` is one, else an empty list."""
    try:
        return [UUID(text)] if text else []
    except ValueError:
        return []


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


def as_text(value: Any) -> SafeString:
    """A JSON document, formatted for reading."""
    text = json.dumps(from_jsonb(dumps(value)), indent=2, ensure_ascii=False)
    if len(text) > MAX_CHARACTERS:
        text = f"{text[:MAX_CHARACTERS]}\n… {len(text)} characters in all"
    return format_html('<pre class="overflow-x-auto text-xs">{}</pre>', text)


def document(field: str) -> Any:
    """A page's entry for a JSON field, which Django would show on one line."""

    def shown(model_admin: Any, row: Any) -> SafeString:
        return as_text(getattr(row, field))

    return display(description=field)(shown)


def link(page: str, key: Any) -> str:
    """A link to a row's page, such as `runs_run`; the row may be deleted by then."""
    if key is None:
        return "-"
    path = reverse(f"admin:{page}_change", args=[key])
    return format_html('<a class="text-link" href="{}">{}</a>', path, key)


def link_to_rows(page: str, text: str, **query: Any) -> str:
    """A link to the rows of a list that match a search or a filter."""
    path = f"{reverse(f'admin:{page}_changelist')}?{urlencode(query)}"
    return format_html('<a class="text-link" href="{}">{}</a>', path, text)
