"""No index that another one covers: each costs every write of its table."""

from __future__ import annotations

import pytest
from django.db import connection

# Plain B-trees on the same rows, where one's columns are the first ones of the other's,
# in the same directions. A unique index has another purpose.
COVERED = """
WITH trees AS (
    SELECT index.indexrelid, index.indrelid, index.indisunique,
        (index.indkey::int2[])[:] AS columns, (index.indoption::int2[])[:] AS options,
        (index.indclass::oid[])[:] AS classes,
        pg_get_expr(index.indpred, index.indrelid) AS condition
    FROM pg_index AS index
    JOIN pg_class AS class ON class.oid = index.indexrelid
    JOIN pg_am AS method ON method.oid = class.relam
    WHERE method.amname = 'btree' AND index.indexprs IS NULL
        AND class.relnamespace = current_schema::regnamespace
)
SELECT one.indexrelid::regclass::text, other.indexrelid::regclass::text
FROM trees AS one
JOIN trees AS other ON other.indrelid = one.indrelid
    AND other.indexrelid <> one.indexrelid
    AND other.condition IS NOT DISTINCT FROM one.condition
    AND (other.columns)[:cardinality(one.columns)] = one.columns
    AND (other.options)[:cardinality(one.columns)] = one.options
    AND (other.classes)[:cardinality(one.columns)] = one.classes
    AND (cardinality(other.columns) > cardinality(one.columns)
        OR other.indexrelid < one.indexrelid)
WHERE NOT one.indisunique
ORDER BY 1, 2
"""
# Tables of other packages.
NOT_OURS = ("auth_", "django_", "checkpoint")


@pytest.mark.django_db
def test_no_index_is_covered_by_another() -> None:
    with connection.cursor() as cursor:
        cursor.execute(COVERED)
        found = cursor.fetchall()

    assert [pair for pair in found if not pair[0].startswith(NOT_OURS)] == []
