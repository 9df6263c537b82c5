"""Vectors of items: their table, and the SQL that writes and searches it.

A vector belongs to one version of its item: `made_for` is the item's `updated_at`; if
they differ, the vector is ignored. So several processes can write and index an item at
the same time, and no transaction waits for a model.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import orjson
from django.conf import settings
from django.db import ProgrammingError, connection, transaction

from spool.config.env import stop
from spool.store.index import Index, Vector, embeddings, index_config
from spool.store.models import StoreItem
from spool.store.statements import (
    ALIVE,
    COLUMNS,
    Permit,
    below,
    containing,
    matching,
    put,
)

logger = logging.getLogger(__name__)

# The first version with scans that go on until enough rows pass a filter.
MIN_PGVECTOR_VERSION = (0, 8)
# Candidates of an HNSW search: a higher number finds more and costs more.
EF_SEARCH = 200
# Candidates for each wanted item, since several vectors of an item may be near.
REPEATS = 4
# Marks a table until `reindex_store` has processed all items.
BEHIND = "lacks the vectors of older items"
# An arbitrary number that is not used for another lock.
LOCK = 7_310_579_629

SEARCH_SETTINGS = f"""
SELECT set_config('hnsw.ef_search', '{EF_SEARCH}', true),
    set_config('hnsw.iterative_scan', 'strict_order', true)
"""


def prepare_index(*, warn: bool = True) -> None:
    """Create the table of `store.index`. Log what is left to do, or stop the process."""
    index = index_config()
    if index:
        embeddings(index.embed)
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [LOCK])
        others = [t for t in tables() if not index or t != index.table]
        # From now on, items are put that are missing in these tables.
        _mark_behind(cursor, others)
        if index is None:
            return
        _make(cursor, index)
        if warn and (others or _is_behind(cursor, index)):
            logger.warning(
                "store.index is new or has changed: semantic searches do not find "
                "older items until `spool manage reindex_store` was run"
            )


def _make(cursor: Any, index: Index) -> None:
    _require_pgvector(cursor)
    if index.table in tables():
        return
    for statement in _create(index):
        cursor.execute(statement)
    if StoreItem.objects.exists():
        _mark_behind(cursor, [index.table])


def _mark_behind(cursor: Any, behind: Iterable[str]) -> None:
    for table in behind:
        cursor.execute(f"COMMENT ON TABLE {table} IS '{BEHIND}'")


def _is_behind(cursor: Any, index: Index) -> bool:
    cursor.execute("SELECT obj_description(%s::regclass, 'pg_class')", [index.table])
    return bool(cursor.fetchone() == (BEHIND,))


def _require_pgvector(cursor: Any) -> None:
    cursor.execute(
        "SELECT default_version, installed_version FROM pg_available_extensions "
        "WHERE name = 'vector'"
    )
    available, installed = cursor.fetchone() or (None, None)
    where = f"{settings.LANGGRAPH_CONFIG}: store.index"
    if not available:
        stop(f"{where} needs pgvector, and this Postgres does not have it")
    version = installed or available
    if tuple(map(int, version.split(".")[:2])) < MIN_PGVECTOR_VERSION:
        stop(f"{where} needs pgvector 0.8 or newer, and this Postgres has {version}")
    if not installed:
        try:
            cursor.execute("CREATE EXTENSION vector")
        except ProgrammingError as exc:
            stop(f"{where}: CREATE EXTENSION vector: {str(exc).splitlines()[0]}")


def tables() -> list[str]:
    """The tables of this configuration and of earlier ones."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT relname FROM pg_class WHERE relkind = 'r' "
            r"AND relname LIKE 'store\_vectors\_%%' AND pg_table_is_visible(oid)"
        )
        return [name for (name,) in cursor.fetchall()]


def _create(index: Index) -> list[str]:
    table, operators = index.table, f"{index.kind.split('(')[0]}_cosine_ops"
    return [
        f"""
        CREATE TABLE {table} (
            item_id bigint NOT NULL REFERENCES store_items ON DELETE CASCADE,
            ordinal integer NOT NULL,
            owner text NOT NULL,
            path text COLLATE "C" NOT NULL,
            made_for timestamptz NOT NULL,
            embedding {index.kind} NOT NULL,
            PRIMARY KEY (item_id, ordinal)
        )""",
        f"CREATE INDEX ON {table} (owner, path)",
        f"CREATE INDEX ON {table} USING hnsw (embedding {operators}) WITH "
        "(ef_construction = 128)",
    ]


def put_with_vectors(index: Index, permit: Permit) -> str:
    """`statements.put`, plus the vectors of the items."""
    return f"""
WITH put AS ({put(permit)} RETURNING id, path, key, updated_at), gone AS (
    DELETE FROM {index.table} AS old
    USING put JOIN unnest(
        %(paths)s::text[], %(keys)s::text[], %(counts)s::int[]
    ) AS given (path, key, count) USING (path, key)
    WHERE old.item_id = put.id AND old.ordinal >= given.count
)
INSERT INTO {index.table} (item_id, ordinal, owner, path, made_for, embedding)
SELECT put.id, made.ordinal, %(owner)s, put.path, put.updated_at,
    made.embedding::{index.kind}
FROM put JOIN unnest(
    %(vector_paths)s::text[], %(vector_keys)s::text[], %(ordinals)s::int[],
    %(vectors)s::text[]
) AS made (path, key, ordinal, embedding) USING (path, key)
ON CONFLICT (item_id, ordinal) DO UPDATE SET
    made_for = EXCLUDED.made_for, embedding = EXCLUDED.embedding
"""


def rebuild(index: Index) -> str:
    """Write vectors of items as they were read; skip those that changed since.

    It locks items in the same order as writers do, so that they can't deadlock.
    """
    return f"""
WITH made AS (
    SELECT * FROM unnest(
        %(ids)s::bigint[], %(ordinals)s::int[], %(vectors)s::text[],
        %(made_for)s::timestamptz[]
    ) AS made (id, ordinal, embedding, made_for)
), held AS (
    SELECT id, owner, path, updated_at FROM store_items
    WHERE id IN (SELECT id FROM made)
    ORDER BY path, key COLLATE "C" FOR NO KEY UPDATE
)
INSERT INTO {index.table} AS old (item_id, ordinal, owner, path, made_for, embedding)
SELECT id, ordinal, owner, path, made_for, embedding::{index.kind}
FROM made JOIN held USING (id) WHERE held.updated_at = made.made_for
ON CONFLICT (item_id, ordinal) DO UPDATE SET
    made_for = EXCLUDED.made_for, embedding = EXCLUDED.embedding
WHERE old.made_for <= EXCLUDED.made_for
"""


# An item with several vectors is as near as its nearest vector.
_BEST = f""", best AS (
    SELECT id, min(distance) AS distance FROM near GROUP BY id
    ORDER BY distance, id LIMIT %(limit)s OFFSET %(offset)s
)
SELECT {COLUMNS}, distance FROM best JOIN store_items USING (id)
ORDER BY distance, id
"""


def nearest(
    index: Index,
    vector: Vector,
    namespace: Sequence[str],
    given: Mapping[str, Any] | None,
    metadata: Mapping[str, Any] | None,
    *,
    limit: int,
    offset: int,
    exact: bool = False,
) -> tuple[str, dict[str, Any]]:
    """Items below a namespace, those nearest to a vector first.

    Unless `exact`, it may find fewer items than exist.
    """
    within, params = below(namespace, column="v.path")
    of_item = " AND ".join(
        [ALIVE, *matching(given, params), *containing(metadata, params)]
    )
    candidates = (limit + offset) * (REPEATS if index.may_repeat else 1)
    params |= {
        "vector": as_text(vector),
        "limit": limit,
        "offset": offset,
        "candidates": candidates,
    }
    where = " AND ".join(["v.owner = %(owner)s", *within])
    distance = f"v.embedding <=> %(vector)s::{index.kind}"
    # `OFFSET 0` prevents a join on two columns: Postgres estimates that it returns almost
    # no rows, and would not use the HNSW index.
    some = "" if exact else f"ORDER BY {distance} LIMIT %(candidates)s"
    near = f"""
    SELECT item_id AS id, {distance} AS distance
    FROM {index.table} AS v, LATERAL (
        SELECT FROM store_items
        WHERE id = v.item_id AND updated_at = v.made_for AND {of_item} OFFSET 0
    ) AS item
    WHERE {where} {some}"""
    return f"WITH near AS ({near}\n){_BEST}", params


def vector_rows(vectors: Iterable[tuple[Any, list[Vector]]]) -> list[tuple[Any, ...]]:
    """The rows (place, ordinal, text) for pairs of a place and its vectors, in order.

    A zero vector has no direction, so it is left out.
    """
    return [
        (place, ordinal, as_text(vector))
        for place, of_place in vectors
        for ordinal, vector in enumerate(v for v in of_place if any(v))
    ]


def as_text(vector: Vector) -> str:
    return orjson.dumps(vector).decode()
