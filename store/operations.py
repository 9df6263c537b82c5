"""What LangGraph's operations on a store come down to: statements, in order.

The functions here are generators. They yield each statement and are sent its rows, and
know nothing of how it is run: the API runs it on Django's connection
(`store.services`), graphs on their loop's pool (`store.backend`).
"""

from __future__ import annotations

from collections.abc import Generator, Iterable
from typing import Any, NamedTuple, TypeVar

import orjson
from langgraph.store.base import (
    GetOp,
    Item,
    ListNamespacesOp,
    Op,
    PutOp,
    Result,
    SearchItem,
    SearchOp,
)

from config.json import clean_text, jsonb_bytes
from store import statements
from store.namespaces import check_labels, check_place, check_writable, path_of
from store.ttl import is_ttl

T = TypeVar("T")
Row = dict[str, Any]


class Statement(NamedTuple):
    sql: str
    params: dict[str, Any]


Steps = Generator[Statement, list[Row], T]
Place = tuple[str, str]


def check(owner: str, op: Op) -> None:
    """Raise `ValueError` for an operation that can't be carried out."""
    if isinstance(op, PutOp) and op.value is not None:
        check_writable(op.namespace)
        check_place(owner, *_place(op))
        if op.ttl is not None and not is_ttl(op.ttl):
            raise ValueError(f"ttl must be a positive number of minutes, not {op.ttl}")
    elif isinstance(op, (GetOp, PutOp)):
        check_labels(op.namespace)
    elif isinstance(op, SearchOp):
        check_labels(op.namespace_prefix)
        statements.matching(op.filter, {})
    elif isinstance(op, ListNamespacesOp):
        for condition in op.match_conditions or ():
            check_labels(condition.path)


def batch(owner: str, ops: Iterable[Op]) -> Steps[list[Result]]:
    """Several operations: all reads come before all writes, as in LangGraph's stores."""
    listed = list(ops)
    results: list[Result] = [None] * len(listed)
    gets = {i: op for i, op in enumerate(listed) if isinstance(op, GetOp)}
    found = yield from _get(owner, gets.values())
    for index, op in enumerate(listed):
        if isinstance(op, GetOp):
            results[index] = found.get(_place(op))
        elif isinstance(op, SearchOp):
            results[index] = yield from _search(owner, op)
        elif isinstance(op, ListNamespacesOp):
            results[index] = yield from _list_namespaces(owner, op)
    yield from _put(owner, [op for op in listed if isinstance(op, PutOp)])
    return results


def _get(owner: str, ops: Iterable[GetOp]) -> Steps[dict[Place, Item]]:
    refresh = {_place(op): False for op in ops}
    if not refresh:
        return {}
    for op in ops:
        refresh[_place(op)] |= op.refresh_ttl
    rows = yield Statement(statements.GET, {"owner": owner, **_places(refresh)})
    yield from _refresh(owner, [row for row in rows if refresh[_place_of(row)]])
    return {_place_of(row): Item(**_fields(row)) for row in rows}


def _search(owner: str, op: SearchOp) -> Steps[list[SearchItem]]:
    sql, params = statements.search(
        op.namespace_prefix, op.filter, limit=op.limit, offset=op.offset
    )
    rows = yield Statement(sql, {**params, "owner": owner})
    if op.refresh_ttl:
        yield from _refresh(owner, rows)
    return [SearchItem(**_fields(row)) for row in rows]


def _refresh(owner: str, rows: list[Row]) -> Steps[None]:
    """Let items that were read live on for as long as they were given at first."""
    places = [_place_of(row) for row in rows if row["ttl_minutes"] is not None]
    if places:
        yield Statement(statements.REFRESH, {"owner": owner, **_places(places)})


def _list_namespaces(owner: str, op: ListNamespacesOp) -> Steps[list[tuple[str, ...]]]:
    sql, params = statements.namespaces(
        op.match_conditions or (),
        max_depth=op.max_depth,
        limit=op.limit,
        offset=op.offset,
    )
    rows = yield Statement(sql, {**params, "owner": owner})
    return [tuple(row["path"].split(".")) for row in rows]


def _put(owner: str, puts: list[PutOp]) -> Steps[None]:
    # Of several writes of one key the last one counts.
    last = {_place(op): op for op in puts}
    kept = {place: op for place, op in sorted(last.items()) if op.value is not None}
    gone = [place for place, op in last.items() if op.value is None]
    if kept:
        values = {
            "values": [jsonb_bytes(op.value).decode() for op in kept.values()],
            "minutes": [op.ttl for op in kept.values()],
        }
        params = {"owner": owner, **_places(kept), **values}
        yield Statement(statements.PUT, params)
    if gone:
        yield Statement(statements.DELETE, {"owner": owner, **_places(gone)})


def _place(op: GetOp | PutOp) -> Place:
    return path_of(op.namespace), clean_text(str(op.key))


def _place_of(row: Row) -> Place:
    return row["path"], row["key"]


def _places(places: Iterable[Place]) -> dict[str, list[str]]:
    paths, keys = zip(*places, strict=True)
    return {"paths": list(paths), "keys": list(keys)}


def _fields(row: Row) -> dict[str, Any]:
    return {
        "namespace": tuple(row["path"].split(".")),
        "key": row["key"],
        "value": orjson.loads(row["value"]),
        "created_at": row["created_at"],
        "updated_at": row["updated_at"],
    }
