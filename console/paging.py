"""Pages of big tables: each begins where the previous one ended; rows aren't counted.

If an index has the rows in the order of the list, a page reads about as many rows as it
shows. For filters and searches without such an index it reads a limited number of rows,
and its link to the next page searches further.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from operator import or_
from typing import Any

from django.contrib.admin.utils import build_q_object_from_lookup_parameters
from django.contrib.admin.views.main import PAGE_VAR
from django.core.exceptions import ValidationError
from django.db.models import DateTimeField, F, Field, Func, Q, QuerySet, Value
from django.db.models.lookups import (
    GreaterThan,
    GreaterThanOrEqual,
    LessThan,
    LessThanOrEqual,
)
from django.http import HttpRequest
from unfold.views import ChangeList

# Rows that a page reads if no index leads to those that it shows.
MAX_READ = 20_000
NOTHING = Q(pk__in=())


@dataclass(frozen=True, slots=True)
class Search:
    """A search: its rows match any condition in `found`, and each has an index.

    `among` is set if an index doesn't have its rows in the order of the list: then the
    search reads the rows that fulfil `among`, and at most `max_read` for one page.
    """

    found: Sequence[Q]
    among: Q | None = None
    max_read: int = MAX_READ


@dataclass(frozen=True, slots=True)
class Column:
    field: Field[Any, Any]
    descending: bool

    @property
    def name(self) -> str:
        return self.field.attname

    def value(self, text: str | None) -> Any:
        """Parse a value in a link. Raises ValueError or ValidationError."""
        if text is not None and (not isinstance(text, str) or "\0" in text):
            raise ValueError(text)
        return self.field.to_python(text)

    def after(self, value: Any) -> Q:
        """Match rows after those with this value. Postgres sorts nulls highest."""
        if self.descending:
            is_lower = Q((f"{self.name}__lt", value))
            return is_lower if value is not None else ~Q((self.name, None))
        if value is None:
            return NOTHING
        is_higher = Q((f"{self.name}__gt", value))
        return is_higher | Q((self.name, None)) if self.field.null else is_higher


@dataclass(frozen=True, slots=True)
class Order:
    """The columns that a list is sorted by; together they are unique."""

    columns: tuple[Column, ...]

    @classmethod
    def of(cls, rows: QuerySet[Any]) -> Order:
        columns: dict[str, Column] = {}
        for part in rows.query.order_by:
            name = str(part).removeprefix("-")
            options = rows.model._meta
            field = options.pk if name == "pk" else options.get_field(name)
            column = Column(field, str(part).startswith("-"))
            columns.setdefault(column.name, column)
        return cls(tuple(columns.values()))

    @property
    def names(self) -> list[str]:
        return [f"{'-' * one.descending}{one.name}" for one in self.columns]

    @property
    def edge(self) -> Order | None:
        """The columns by which a limited search ends; None if it can't be limited.

        For an order by time it is the time alone: rows of one time are read together.
        """
        is_by_time = isinstance(self.columns[0].field, DateTimeField)
        columns = self.columns[:1] if is_by_time else self.columns
        return Order(columns) if _is_plain(columns) else None

    def texts(self, row: Any) -> list[str | None]:
        """A row's values as texts for links."""
        return _texts([getattr(row, one.name) for one in self.columns])

    def reversed(self) -> Order:
        return Order(tuple(Column(c.field, not c.descending) for c in self.columns))

    def after(self, values: Sequence[Any]) -> Q:
        """Match rows after one with these values, which may be of the first columns."""
        columns = self.columns[: len(values)]
        if _is_plain(columns):
            lookup = LessThan if columns[0].descending else GreaterThan
            return _compared(lookup, columns, values)
        found, same = NOTHING, Q()
        for column, value in zip(columns, values, strict=True):
            found |= same & column.after(value)
            same &= Q((column.name, value))
        first = columns[0]
        if first.field.null:
            return found
        # `found` implies this condition, but an index can only use this one.
        bound = "lte" if first.descending else "gte"
        return Q((f"{first.name}__{bound}", values[0])) & found

    def until(self, values: Sequence[Any]) -> Q:
        """Match rows up to, and including, those with these values of the `edge`."""
        columns = self.columns[: len(values)]
        is_descending = columns[0].descending
        lookup = GreaterThanOrEqual if is_descending else LessThanOrEqual
        return _compared(lookup, columns, values)


def _is_plain(columns: Sequence[Column]) -> bool:
    """Whether SQL rows of the columns can be compared, which lets an index be used."""
    directions = {column.descending for column in columns}
    return len(directions) == 1 and not any(column.field.null for column in columns)


def _compared(lookup: Any, columns: Sequence[Column], values: Sequence[Any]) -> Q:
    names = [F(column.name) for column in columns]
    given = [
        Value(value, output_field=column.field)
        for column, value in zip(columns, values, strict=True)
    ]
    return Q(lookup(_row(names), _row(given)))


def _row(parts: Sequence[F | Value]) -> Func:
    return Func(*parts, function="ROW", output_field=Field())


@dataclass(frozen=True, slots=True)
class Cursor:
    """Where a page begins: after, or before, a row with these values."""

    values: tuple[Any, ...] = ()
    is_backward: bool = False

    @classmethod
    def parse(cls, text: str, order: Order) -> Cursor:
        """The cursor of a link. Anything else stands for the first page."""
        try:
            ((direction, texts),) = json.loads(text).items()
            is_backward = {"after": False, "before": True}[direction]
            if not 0 < len(texts) <= len(order.columns):
                return cls()
            pairs = zip(order.columns, texts, strict=False)
            values = tuple(column.value(one) for column, one in pairs)
        except (ValueError, KeyError, TypeError, AttributeError, ValidationError):
            return cls()
        return cls(values, is_backward)


@dataclass(frozen=True, slots=True)
class Links:
    """The links below a list; unfold takes them for a paginator with a template."""

    first: str = ""
    previous: str = ""
    next: str = ""
    # How many rows the page has read, if it has not read all; else 0.
    read: int = 0
    template_name = "console/pagination.html"


class KeysetChangeList(ChangeList):  # type: ignore[misc]
    """The rows of a page. The model admin's method `searched` parses search terms.

    A filter has an index if its name is in the model admin's `indexed_filters`; its own
    `is_indexed`, if present, overrides that. A filter without one may have a method
    `nearby`, which narrows the rows by an indexed condition that all its rows fulfil.
    """

    def get_filters(self, request: HttpRequest) -> Any:
        found = super().get_filters(request)
        self.lookups: dict[str, Any] = found[2]
        return found

    def get_ordering_field(self, field_name: Any) -> Any:
        """A column's field; None if the list can't be sorted by it, even by its URL."""
        is_sortable = self.sortable_by is None or field_name in self.sortable_by
        return super().get_ordering_field(field_name) if is_sortable else None

    def get_queryset(
        self, request: HttpRequest, exclude_parameters: Any = None
    ) -> QuerySet[Any]:
        """All rows of the list, from which actions take the chosen ones."""
        rows: QuerySet[Any] = super().get_queryset(request, exclude_parameters)
        self.unsearched = rows
        term = self.query.strip()
        self.search: Search | None = self.model_admin.searched(term) if term else None
        if self.search is None:
            return rows
        return rows.filter(reduce(or_, self.search.found, NOTHING))

    def get_results(self, request: HttpRequest) -> None:
        order = Order.of(self.unsearched)
        cursor = Cursor.parse(request.GET.get(PAGE_VAR, ""), order)
        walk = order.reversed() if cursor.is_backward else order
        place = walk.after(cursor.values) if cursor.values else Q()
        edge = self._edge(request, walk, place)
        if edge:
            place &= walk.until(edge)
        size = self.list_per_page
        parts = self.search.found if self.search else None
        rows = self._first(self.unsearched, parts, walk, place, size + 1)
        found = list(rows.defer(*self.model_admin.list_defer))
        has_more, found = len(found) > size, found[:size]
        # Where the next page in the direction of reading begins, and the previous one.
        onward = order.texts(found[-1]) if has_more else _texts(edge or ())
        back = order.texts(found[0]) if found and cursor.values else []
        if cursor.is_backward:
            onward, back = back, onward
            found.reverse()
        self.paginator = Links(
            first=self._link() if cursor.values else "",
            previous=self._link(before=back) if back else "",
            next=self._link(after=onward) if onward else "",
            read=self._max_read if edge and not has_more else 0,
        )
        self._set_results(found)

    def _set_results(self, found: list[Any]) -> None:
        """Set the attributes that the templates of Django and unfold read."""
        self.result_list, self.result_count = found, len(found)
        # The title only shows these numbers if they differ.
        self.full_result_count, self.show_full_result_count = len(found), False
        self.show_admin_actions = True
        self.can_show_all = self.multi_page = False

    def _link(self, **cursor: Any) -> str:
        text = json.dumps(cursor, ensure_ascii=False) if cursor else None
        link: str = self.get_query_string({PAGE_VAR: text})
        return link

    def _first(
        self,
        rows: QuerySet[Any],
        parts: Sequence[Q] | None,
        walk: Order,
        place: Q,
        limit: int,
    ) -> QuerySet[Any]:
        """The first rows. For several parts, the first rows of each part are merged."""
        rows = rows.order_by(*walk.names)
        if parts is None:
            return rows.filter(place)[:limit]
        some = [rows.filter(part, place).values("pk")[:limit] for part in parts]
        keys = some[0].union(*some[1:], all=True) if some[1:] else some[0]
        # The filters are not needed here: `some` has applied them.
        every_row: QuerySet[Any] = self.apply_select_related(self.root_queryset)
        return every_row.filter(pk__in=keys).order_by(*walk.names)[:limit]

    @property
    def _max_read(self) -> int:
        return self.search.max_read if self.search else MAX_READ

    def _edge(
        self, request: HttpRequest, walk: Order, place: Q
    ) -> tuple[Any, ...] | None:
        """The values at which a page stops reading; None if it may read all rows."""
        rows, has_others = self._by_index(request)
        parts = self.search.found if self.search else None
        if self.search and self.search.among is not None:
            rows, parts = rows.filter(self.search.among), None
        elif not has_others:
            return None
        if (edge := walk.edge) is None:
            return None
        limit, names = self._max_read, [one.name for one in edge.columns]
        read = self._first(rows, parts, walk if parts else edge, place, limit + 1)
        return next(iter(read.values_list(*names)[limit : limit + 1]), None)

    def _by_index(self, request: HttpRequest) -> tuple[QuerySet[Any], bool]:
        """The rows of the filters that have an index, and whether there are others."""
        rows, has_others = self.root_queryset, False
        for spec in self.filter_specs:
            if not self.filter_params.keys() & set(spec.expected_parameters()):
                continue
            if self._is_indexed(spec):
                found = spec.queryset(request, rows)
                rows = rows if found is None else found
            else:
                has_others = True
                rows = spec.nearby(rows) if hasattr(spec, "nearby") else rows
        for name, values in self.lookups.items():
            if name.split("__")[0] in self.model_admin.indexed_filters:
                rows = rows.filter(
                    build_q_object_from_lookup_parameters({name: values})
                )
            else:
                has_others = True
        return rows, has_others

    def _is_indexed(self, spec: Any) -> bool:
        name = getattr(spec, "field_path", None) or getattr(spec, "parameter_name", "")
        is_named = name in self.model_admin.indexed_filters
        return bool(getattr(spec, "is_indexed", is_named))


def _texts(values: Sequence[Any]) -> list[str | None]:
    return [None if value is None else str(value) for value in values]
