"""Create vectors of existing items, for a new `store.index`.

No transaction is open while the model is called. An item that changes meanwhile gets
its vectors from the put that changes it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.db import connection

from spool.database.json import from_jsonb
from spool.database.loop import shared_loop
from spool.store.index import Embed, Index, embed_texts
from spool.store.models import StoreItem
from spool.store.vectors import rebuild, tables, vector_rows

BATCH = 200

READ = """
SELECT id, value::text, index::text, updated_at FROM store_items
WHERE id > %(after)s ORDER BY id LIMIT %(batch)s
"""


def reindex(
    index: Index, *, report: Callable[[int, int], Any], batch: int = BATCH
) -> int:
    """Index every item of all owners, and drop the tables of other configurations.

    `report` is called with the number of items that are done, and the total.
    """
    total, done, after = StoreItem.objects.count(), 0, 0
    report(done, total)
    while rows := _query(READ, {"after": after, "batch": batch}):
        _index_items(index, rows)
        after, done = rows[-1][0], done + len(rows)
        report(done, max(total, done))
    drop_tables(kept=index)
    _query(f"COMMENT ON TABLE {index.table} IS NULL")
    _query(f"ANALYZE {index.table}")
    return done


def drop_tables(*, kept: Index | None) -> list[str]:
    """Drop the tables of other configurations. Return their names."""
    others = [table for table in tables() if not kept or table != kept.table]
    for table in others:
        _query(f"DROP TABLE IF EXISTS {table}")
    return others


def _index_items(index: Index, rows: list[Any]) -> None:
    texts = {
        (item_id, updated_at): index.texts(
            from_jsonb(value), from_jsonb(paths or "null")
        )
        for item_id, value, paths, updated_at in rows
    }
    documents = [text for of_item in texts.values() for text in of_item]
    if not documents:
        return
    made = iter(shared_loop().run(embed_texts(index, Embed(documents, []))))
    vectors = {item: [next(made) for _ in of_item] for item, of_item in texts.items()}
    listed = vector_rows(vectors.items())
    _query(
        rebuild(index),
        {
            "ids": [item_id for (item_id, _), _, _ in listed],
            "made_for": [updated_at for (_, updated_at), _, _ in listed],
            "ordinals": [ordinal for _, ordinal, _ in listed],
            "vectors": [text for _, _, text in listed],
        },
    )


def _query(sql: str, params: dict[str, Any] | None = None) -> list[Any]:
    with connection.cursor() as cursor:
        cursor.execute(sql, params)
        return cursor.fetchall() if cursor.description else []
