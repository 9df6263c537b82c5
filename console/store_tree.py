"""The store as a tree: owners, their namespaces with the number of items, and items.

Every statement is limited: the tree skips through the index from one namespace to the
next, counts end at `MAX_COUNTED`, and a search for text reads a limited number of
items, beginning where the previous search ended.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import or_
from typing import Any, Generic, TypeVar

from django.db import connection
from django.db.models import F, Func, IntegerField, Q, QuerySet
from langgraph.store.base import SearchItem, SearchOp

from spool.store.models import StoreItem
from spool.store.namespaces import path_of
from spool.store.services import perform

# Rows of one page.
MAX_BRANCHES = MAX_ITEMS = 50
# Items of a namespace are counted up to this number.
MAX_COUNTED = 1_000
# A search for text reads this number of items, and values up to this size in bytes.
MAX_SEARCHED = 5_000
MAX_SEARCHED_BYTES = 20_000
# How many items a search shows.
MAX_FOUND = 50

# The first path of each child, in the order of the index. A namespace and those below
# it may lie apart there ("a", "a-b", "a.c"): the second place of "a" is left out.
_CHILDREN = """
WITH RECURSIVE place AS (
    ({first} AND path >= %(start)s ORDER BY path LIMIT 1)
    UNION ALL
    SELECT ({first} AND path >= place.beyond ORDER BY path LIMIT 1)
    FROM (SELECT CASE WHEN {is_deeper} THEN {child} || '/' ELSE path || chr(1) END
        AS beyond FROM place WHERE path IS NOT NULL) AS place
), child AS (
    SELECT {child} AS path, CASE WHEN {is_deeper} THEN {child} || '/'
        ELSE path || chr(1) END AS beyond
    FROM place
    WHERE path IS NOT NULL AND NOT ({is_deeper} AND EXISTS (
        SELECT FROM store_items i
        WHERE i.owner = %(owner)s AND i.path = {child}))
    LIMIT %(limit)s
)
SELECT path, beyond, (SELECT count(*) FROM (
    (SELECT FROM store_items i
    WHERE i.owner = %(owner)s AND i.path = child.path LIMIT %(max)s)
    UNION ALL
    (SELECT FROM store_items i WHERE i.owner = %(owner)s
        AND i.path >= child.path || '.' AND i.path < child.path || '/' LIMIT %(max)s)
    LIMIT %(max)s) AS counted)
FROM child
"""
_LABELS = "string_to_array(place.path, '.')"

_OWNERS = """
WITH RECURSIVE named AS (
    (SELECT owner FROM store_items WHERE owner >= %(start)s ORDER BY owner LIMIT 1)
    UNION ALL
    SELECT (SELECT owner FROM store_items i WHERE i.owner > named.owner
        ORDER BY owner LIMIT 1)
    FROM named WHERE named.owner IS NOT NULL
), chosen AS (SELECT owner FROM named WHERE owner IS NOT NULL LIMIT %(limit)s)
SELECT owner, '', (SELECT count(*) FROM (
    SELECT FROM store_items i WHERE i.owner = chosen.owner LIMIT %(max)s) AS counted)
FROM chosen
"""

# The matches by place, then a row with the last item that was read and their number.
_WITH_TEXT = """
WITH searched AS MATERIALIZED (
    (SELECT id, path, key FROM store_items
    WHERE owner = %(owner)s AND path = %(path)s
        AND (path, key) > (%(after_path)s, %(after_key)s)
    ORDER BY path, key LIMIT %(max)s)
    UNION ALL
    (SELECT id, path, key FROM store_items
    WHERE owner = %(owner)s AND {within}
        AND (path, key) > (%(after_path)s, %(after_key)s)
    ORDER BY path, key LIMIT %(max)s)
    LIMIT %(max)s
), matching AS (
    SELECT s.path, s.key, 0::bigint, s.id
    FROM searched s JOIN store_items i ON i.id = s.id
    WHERE pg_column_size(i.value) <= %(max_bytes)s
        AND (i.key ILIKE %(pattern)s OR i.value::text ILIKE %(pattern)s)
    ORDER BY s.path, s.key LIMIT %(limit)s
)
SELECT * FROM matching
UNION ALL
(SELECT path, key, (SELECT count(*) FROM searched), NULL FROM searched
ORDER BY path DESC, key DESC LIMIT 1)
"""
T = TypeVar("T")
Place = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Branch:
    """An owner or a namespace, and its number of items, up to `MAX_COUNTED`."""

    name: str
    # Where the next page begins, if this is the last one of a page.
    beyond: str
    count: int

    @property
    def label(self) -> str:
        """The last label of a namespace."""
        return self.name.rpartition(".")[2]

    @property
    def has_more(self) -> bool:
        return self.count >= MAX_COUNTED


@dataclass(frozen=True)
class Page(Generic[T]):
    """Rows of a page, and where the next page begins; None for the last page."""

    rows: Sequence[T]
    more: Any = None


@dataclass(frozen=True, slots=True)
class Found:
    """An item that a search found. A search by meaning gives it a score from 0 to 1."""

    item: StoreItem
    score: float | None = None


def owners(start: str = "") -> Page[Branch]:
    """A page of the owners of items, from the name `start` on."""
    found = _branches(_OWNERS, {"start": start})
    if len(found) <= MAX_BRANCHES:
        return Page(found)
    return Page(found[:-1], found[-1].name)


def children(owner: str, path: str, start: str = "") -> Page[Branch]:
    """A page of the namespaces directly below `path`, or of the owner's top ones."""
    depth = len(path.split(".")) + 1 if path else 1
    bounds = "AND path < %(last)s" if path else ""
    first = f"SELECT path FROM store_items WHERE owner = %(owner)s {bounds}"
    sql = _CHILDREN.format(
        first=first,
        child=f"(array_to_string(({_LABELS})[1:{depth}], '.') COLLATE \"C\")",
        is_deeper=f"cardinality({_LABELS}) > {depth}",
    )
    params = {"owner": owner, "last": f"{path}/"}
    params["start"] = start or (f"{path}." if path else "")
    found = _branches(sql, params)
    if len(found) <= MAX_BRANCHES:
        return Page(found)
    return Page(found[:-1], found[-2].beyond)


def _branches(sql: str, params: dict[str, Any]) -> list[Branch]:
    limits = {"limit": MAX_BRANCHES + 1, "max": MAX_COUNTED}
    return [Branch(*row) for row in _rows(sql, params | limits)]


def items(owner: str, path: str, after: str | None = None) -> Page[StoreItem]:
    """A page of a namespace's own items by key, without their values."""
    of_path = StoreItem.objects.filter(owner=owner, path=path)
    if after is not None:
        of_path = of_path.filter(key__gt=after)
    found = list(_listed(of_path).order_by("key")[: MAX_ITEMS + 1])
    if len(found) <= MAX_ITEMS:
        return Page(found)
    return Page(found[:-1], found[-2].key)


def with_text(owner: str, path: str, text: str, after: Place | None) -> Page[Found]:
    """Items at or below a namespace whose key or value contains this text.

    A limited number of items is read, so a page may be empty without being the last.
    """
    params = {
        "owner": owner,
        "path": path,
        "after_path": after[0] if after else "",
        "after_key": after[1] if after else "",
        "first": f"{path}." if path else "",
        "last": f"{path}/",
        "max": MAX_SEARCHED,
        "max_bytes": MAX_SEARCHED_BYTES,
        "limit": MAX_FOUND,
        "pattern": _pattern(text),
    }
    within = "path >= %(first)s AND path < %(last)s" if path else "TRUE"
    rows = _rows(_WITH_TEXT.format(within=within), params)
    *matches, (last_path, last_key, scanned, _) = rows or [("", "", 0, None)]
    found = _by_id([pk for _, _, _, pk in matches])
    shown = [Found(found[pk]) for _, _, _, pk in matches if pk in found]
    if len(matches) == MAX_FOUND:
        return Page(shown, matches[-1][:2])
    return Page(shown, (last_path, last_key) if scanned == MAX_SEARCHED else None)


def _pattern(text: str) -> str:
    """The pattern of ILIKE for values that contain this text."""
    escaped = re.sub(r"([%_\\])", r"\\\1", text)
    return f"%{escaped}%"


def with_meaning(owner: str, path: str, query: str) -> Page[Found]:
    """The items at or below a namespace that are nearest to a query.

    Raises `EmbeddingFailed`. There must be an index.
    """
    namespace = tuple(path.split(".")) if path else ()
    search = SearchOp(namespace, None, MAX_FOUND, 0, query, refresh_ttl=False)
    near: list[SearchItem] = perform(owner, search)
    places = [Q(path=path_of(one.namespace), key=one.key) for one in near]
    if not places:
        return Page([])
    rows = _listed(StoreItem.objects.filter(owner=owner)).filter(reduce(or_, places))
    by_place = {(row.path, row.key): row for row in rows}
    pairs = [(by_place.get((path_of(n.namespace), n.key)), n.score) for n in near]
    return Page([Found(item, score) for item, score in pairs if item])


def _by_id(ids: Iterable[int]) -> dict[int, StoreItem]:
    return {one.pk: one for one in _listed(StoreItem.objects.filter(pk__in=ids))}


def _listed(rows: QuerySet[StoreItem]) -> QuerySet[StoreItem]:
    size = Func(F("value"), function="pg_column_size", output_field=IntegerField())
    return rows.annotate(stored_bytes=size).defer("value", "metadata", "index")


def _rows(sql: str, params: dict[str, Any]) -> list[Any]:
    with connection.cursor() as cursor:
        cursor.execute(sql, params)
        rows: list[Any] = cursor.fetchall()
    return rows
