"""Translate LangGraph's store operations to SQL statements, in order.

The functions here are generators. They yield each step and are sent its result; the
caller executes it: the API on Django's connection (`store.services`), graphs on their
loop's pool (`store.backend`).
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any, NamedTuple, TypeVar

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
from orjson import Fragment

from spool.database.json import clean_text, dumps, from_jsonb
from spool.store import statements
from spool.store.index import Embed, Index, Vector, index_config
from spool.store.items import ApiExtras, FoundItem, StoredItem
from spool.store.namespaces import check_labels, check_place, check_writable, path_of
from spool.store.statements import ANY_TIME, Permit
from spool.store.ttl import is_ttl
from spool.store.vectors import SEARCH_SETTINGS, nearest, put_with_vectors, vector_rows

T = TypeVar("T")
Row = dict[str, Any]


class Statement(NamedTuple):
    sql: str
    params: dict[str, Any]
    # Whether the text and the plan are always the same, so that it can be prepared.
    is_constant: bool = False


class Together(NamedTuple):
    """Statements in one transaction. The result is the last one's rows."""

    statements: tuple[Statement, ...]


# The results sent back are a statement's rows, or the vectors of an `Embed`.
Step = Statement | Together | Embed
Steps = Generator[Step, Any, T]
Place = tuple[str, str]
Metadata = Mapping[str, Any]

# The largest limit, offset and array index that Postgres accepts.
MAX_WHOLE = 2**31 - 1


def check(owner: str, op: Op) -> None:
    """Raise `ValueError` for an operation that can't be carried out."""
    if isinstance(op, PutOp) and op.value is not None:
        _check_put(owner, op)
    elif isinstance(op, (GetOp, PutOp)):
        check_labels(op.namespace)
    elif isinstance(op, SearchOp):
        check_labels(op.namespace_prefix)
        _check_page(op)
        statements.matching(op.filter, {})
    elif isinstance(op, ListNamespacesOp):
        _check_page(op)
        # With a depth of 0, the search would return to the same place for ever.
        if op.max_depth is not None and not _is_whole(op.max_depth, minimum=1):
            raise ValueError(f"max_depth must be at least 1, not {op.max_depth!r}")
        for condition in op.match_conditions or ():
            check_labels(condition.path)


def _check_put(owner: str, op: PutOp) -> None:
    check_writable(op.namespace)
    check_place(owner, *_place(op))
    if not isinstance(op.value, Mapping):
        raise ValueError(f"value must be a dictionary, not {type(op.value).__name__}")
    if op.ttl is not None and not is_ttl(op.ttl):
        raise ValueError(f"ttl must be a positive number of minutes, not {op.ttl}")
    if op.index is not None and op.index is not False and not _are_paths(op.index):
        raise ValueError(f"index must be False or a list of paths, not {op.index!r}")


def _check_page(op: SearchOp | ListNamespacesOp) -> None:
    for name, given in (("limit", op.limit), ("offset", op.offset)):
        if not _is_whole(given, minimum=0):
            raise ValueError(
                f"{name} must be a whole number, at least 0, not {given!r}"
            )


def _is_whole(given: Any, *, minimum: int) -> bool:
    return isinstance(given, int) and minimum <= given <= MAX_WHOLE


def _are_paths(given: Any) -> bool:
    is_list = isinstance(given, (list, tuple))
    return is_list and all(isinstance(path, str) for path in given)


def batch(
    owner: str,
    ops: Iterable[Op],
    permit: Permit = ANY_TIME,
    extras: ApiExtras | None = None,
) -> Steps[list[Result]]:
    """Perform several operations: reads come before writes, as in LangGraph's stores.

    If `permit` does not hold, the writes change nothing. With `extras`, items include
    their metadata; graphs get LangGraph's own items.
    """
    listed = list(ops)
    results: list[Result] = [None] * len(listed)
    metadata = extras.metadata if extras else None
    # If one key is written several times, the last write counts.
    writes = {_place(op): op for op in listed if isinstance(op, PutOp)}
    vectors = yield from _embed(listed, writes)
    found = yield from _get(owner, [op for op in listed if isinstance(op, GetOp)])
    for index, op in enumerate(listed):
        if isinstance(op, GetOp):
            row = found.get(_place(op))
            # Each caller gets its own copy, because callers may change it.
            results[index] = _item(row, extras) if row else None
        elif isinstance(op, SearchOp):
            rows = yield from _search(owner, op, vectors, metadata)
            results[index] = [_found(row, extras) for row in rows]
        elif isinstance(op, ListNamespacesOp):
            results[index] = yield from _list_namespaces(owner, op)
    yield from _put(owner, writes, vectors, permit, metadata)
    return results


@dataclass(frozen=True)
class Vectors:
    """The vectors that the operations of a batch need."""

    index: Index
    of_query: dict[str, Vector]
    of_item: dict[Place, list[Vector]]


def _embed(ops: list[Op], writes: dict[Place, PutOp]) -> Steps[Vectors | None]:
    """Embed all texts of a batch with one call. Return None without an index."""
    index = index_config()
    if index is None:
        return None
    queries = {op.query: None for op in ops if isinstance(op, SearchOp) and op.query}
    texts = {
        place: index.texts(op.value, op.index)
        for place, op in writes.items()
        if op.value is not None
    }
    documents = [text for of_item in texts.values() for text in of_item]
    if not documents and not queries:
        return Vectors(index, {}, {})
    made = iter((yield Embed(documents, list(queries))))
    of_item = {place: list(islice(made, len(t))) for place, t in texts.items()}
    return Vectors(index, dict(zip(queries, made, strict=True)), of_item)


def _get(owner: str, ops: Iterable[GetOp]) -> Steps[dict[Place, Row]]:
    refresh = {_place(op): False for op in ops}
    if not refresh:
        return {}
    for op in ops:
        refresh[_place(op)] |= op.refresh_ttl
    params = {"owner": owner, **_places(refresh)}
    rows = yield Statement(statements.GET, params, is_constant=True)
    yield from _refresh(owner, [row for row in rows if refresh[_place_of(row)]])
    return {_place_of(row): row for row in rows}


def _search(
    owner: str, op: SearchOp, vectors: Vectors | None, metadata: Metadata | None
) -> Steps[list[Row]]:
    vector = vectors and op.query and vectors.of_query[op.query]
    if vectors and vector and any(vector):
        rows: list[Row] = yield from _nearest(
            owner, op, vectors.index, vector, metadata
        )
    else:
        sql, params = statements.search(
            op.namespace_prefix, op.filter, metadata, limit=op.limit, offset=op.offset
        )
        rows = yield Statement(sql, {**params, "owner": owner})
    if op.refresh_ttl:
        yield from _refresh(owner, rows)
    return rows


def _nearest(
    owner: str, op: SearchOp, index: Index, vector: Vector, metadata: Metadata | None
) -> Steps[Any]:
    def statement(*, exact: bool) -> Statement:
        sql, params = nearest(
            index,
            vector,
            op.namespace_prefix,
            op.filter,
            metadata,
            limit=op.limit,
            offset=op.offset,
            exact=exact,
        )
        return Statement(sql, {**params, "owner": owner})

    settings = Statement(SEARCH_SETTINGS, {})
    rows = yield Together((settings, statement(exact=False)))
    if len(rows) < op.limit:
        # The scan of the HNSW graph stops at a limit: there may be more.
        rows = yield statement(exact=True)
    return rows


def _score(row: Row) -> float | None:
    """Scale cosine similarity to 0 (opposite) to 1 (equal)."""
    if "distance" not in row:
        return None
    return float(min(1.0, max(0.0, 1.0 - row["distance"])))


def _refresh(owner: str, rows: list[Row]) -> Steps[None]:
    """Restart the time to live of the items that were read."""
    places = [_place_of(row) for row in rows if row["ttl_minutes"] is not None]
    if places:
        params = {"owner": owner, **_places(places)}
        yield Statement(statements.REFRESH, params, is_constant=True)


def _list_namespaces(owner: str, op: ListNamespacesOp) -> Steps[list[tuple[str, ...]]]:
    sql, params = statements.namespaces(
        op.match_conditions or (),
        max_depth=op.max_depth,
        limit=op.limit,
        offset=op.offset,
    )
    rows = yield Statement(sql, {**params, "owner": owner})
    return [tuple(row["path"].split(".")) for row in rows]


def _put(
    owner: str,
    writes: dict[Place, PutOp],
    vectors: Vectors | None,
    permit: Permit,
    metadata: Metadata | None,
) -> Steps[None]:
    writer = {"owner": owner, **permit.params}
    # It is null if none was given.
    text = None if metadata is None else dumps(metadata).decode()
    kept = {place: op for place, op in sorted(writes.items()) if op.value is not None}
    gone = [place for place, op in writes.items() if op.value is None]
    if len(kept) == 1 and vectors is None:
        params = {**writer, **_item_params(*kept.popitem()), "metadata": text}
        yield Statement(statements.put_one(permit), params, is_constant=True)
    elif kept:
        params = {
            **writer,
            **_places(kept),
            "values": [dumps(op.value).decode() for op in kept.values()],
            "indexes": [_index_text(op) for op in kept.values()],
            "minutes": [op.ttl for op in kept.values()],
            "metadata": text,
        }
        if vectors is None:
            yield Statement(statements.put(permit), params, is_constant=True)
        else:
            params |= _vector_params(kept, vectors)
            yield Statement(put_with_vectors(vectors.index, permit), params)
    if gone:
        params = {**writer, **_places(gone)}
        yield Statement(statements.delete(permit), params, is_constant=True)


def _item_params(place: Place, op: PutOp) -> dict[str, Any]:
    path, key = place
    value = dumps(op.value).decode()
    named = {"path": path, "key": key, "value": value}
    return {**named, "index": _index_text(op), "ttl_minutes": op.ttl}


def _vector_params(kept: dict[Place, PutOp], vectors: Vectors) -> dict[str, Any]:
    of_items = {place: vectors.of_item.get(place, []) for place in kept}
    made = vector_rows(of_items.items())
    return {
        "counts": [len(of_items[place]) for place in kept],
        "vector_paths": [place[0] for place, _, _ in made],
        "vector_keys": [place[1] for place, _, _ in made],
        "ordinals": [ordinal for _, ordinal, _ in made],
        "vectors": [text for _, _, text in made],
    }


def _index_text(op: PutOp) -> str | None:
    return None if op.index is None else dumps(op.index).decode()


def _place(op: GetOp | PutOp) -> Place:
    return path_of(op.namespace), clean_text(str(op.key))


def _place_of(row: Row) -> Place:
    return row["path"], row["key"]


def _places(places: Iterable[Place]) -> dict[str, list[str]]:
    paths, keys = zip(*places, strict=True)
    return {"paths": list(paths), "keys": list(keys)}


def _item(row: Row, extras: ApiExtras | None) -> Item:
    if extras is None:
        return Item(**_fields(row, from_jsonb))
    return StoredItem(metadata=Fragment(row["metadata"]), **_fields(row, Fragment))


def _found(row: Row, extras: ApiExtras | None) -> SearchItem:
    score = _score(row)
    if extras is None:
        return SearchItem(score=score, **_fields(row, from_jsonb))
    fields = _fields(row, Fragment)
    return FoundItem(metadata=Fragment(row["metadata"]), score=score, **fields)


def _fields(row: Row, value: Callable[[str], Any]) -> dict[str, Any]:
    """The fields of a row. `value` parses stored JSON; the API passes it on as text."""
    return {
        "namespace": tuple(row["path"].split(".")),
        "key": row["key"],
        "value": value(row["value"]),
        "created_at": row["created_at"],
        "updated_at": row["updated_at"],
    }
