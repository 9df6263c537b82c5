"""The store's SQL, for the API (Django's connection) and for graphs (an async pool).

Every statement takes `owner`; a statement without it does not exist. Parameters are
named, so that both kinds of connection run the same text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from config.json import jsonb

COLUMNS = "path, key, value, created_at, updated_at"
ALIVE = "(expires_at IS NULL OR expires_at > now())"

GET = f"""
SELECT {COLUMNS} FROM store_items
WHERE owner = %(owner)s AND {ALIVE} AND (path, key) IN (
    SELECT * FROM unnest(%(paths)s::text[], %(keys)s::text[])
)
"""
REFRESH = """
UPDATE store_items SET expires_at = now() + make_interval(secs => ttl_minutes * 60)
WHERE owner = %(owner)s AND ttl_minutes IS NOT NULL AND (path, key) IN (
    SELECT * FROM unnest(%(paths)s::text[], %(keys)s::text[])
)
"""
PUT = """
INSERT INTO store_items
    (owner, path, key, value, created_at, updated_at, ttl_minutes, expires_at)
SELECT %(owner)s, path, key, value::jsonb, now(), now(), minutes,
    now() + make_interval(secs => minutes * 60)
FROM unnest(
    %(paths)s::text[], %(keys)s::text[], %(values)s::text[], %(minutes)s::float8[]
) AS new (path, key, value, minutes)
ON CONFLICT (owner, path, key) DO UPDATE SET
    value = EXCLUDED.value, updated_at = EXCLUDED.updated_at,
    ttl_minutes = EXCLUDED.ttl_minutes, expires_at = EXCLUDED.expires_at
"""
DELETE = """
DELETE FROM store_items
WHERE owner = %(owner)s AND (path, key) IN (
    SELECT * FROM unnest(%(paths)s::text[], %(keys)s::text[])
)
"""

COMPARISONS = {"$gt": ">", "$gte": ">=", "$lt": "<", "$lte": "<="}


class UnsupportedOperator(ValueError):
    """A filter with an operator that the store does not know."""


def path_of(namespace: Sequence[str]) -> str:
    return ".".join(namespace)


def search(
    namespace: Sequence[str],
    given: Mapping[str, Any] | None,
    *,
    limit: int,
    offset: int,
) -> tuple[str, dict[str, Any]]:
    """Items below a namespace whose value matches, newest change first."""
    conditions, params = below(namespace)
    for key, wanted in (given or {}).items():
        conditions.append(_condition(key, wanted, params))
    params |= {"limit": limit, "offset": offset}
    where = " AND ".join(["owner = %(owner)s", ALIVE, *conditions])
    return (
        f"SELECT {COLUMNS} FROM store_items WHERE {where} "
        "ORDER BY updated_at DESC, path, key LIMIT %(limit)s OFFSET %(offset)s",
        params,
    )


def below(namespace: Sequence[str]) -> tuple[list[str], dict[str, Any]]:
    """The namespace itself and what is under it: one range, "/" comes after "."."""
    if not namespace:
        return [], {}
    path = path_of(namespace)
    condition = "(path = %(path)s OR path >= %(first)s AND path < %(last)s)"
    return [condition], {"path": path, "first": f"{path}.", "last": f"{path}/"}


def namespaces(
    *,
    prefix: Sequence[str],
    suffix: Sequence[str],
    max_depth: int | None,
    limit: int,
    offset: int,
) -> tuple[str, dict[str, Any]]:
    """Distinct namespaces, cut to `max_depth` labels; `*` stands for one label."""
    fixed = list(prefix[: list(prefix).index("*")]) if "*" in prefix else list(prefix)
    conditions, params = below(fixed)
    labels = "string_to_array(path, '.')"
    for index, label in enumerate(prefix):
        if label != "*":
            params[f"prefix{index}"] = label
            conditions.append(f"({labels})[{index + 1}] = %(prefix{index})s")
    conditions.append(f"cardinality({labels}) >= {max(len(prefix), len(suffix))}")
    for index, label in enumerate(reversed(suffix)):
        if label != "*":
            params[f"suffix{index}"] = label
            place = f"cardinality({labels}) - {index}"
            conditions.append(f"({labels})[{place}] = %(suffix{index})s")
    where = " AND ".join(["owner = %(owner)s", ALIVE, *conditions])
    params |= {"limit": limit, "offset": offset, "depth": max_depth or 2**20}
    return (
        f"SELECT DISTINCT ({labels})[1:%(depth)s] AS namespace FROM store_items "
        f"WHERE {where} ORDER BY namespace LIMIT %(limit)s OFFSET %(offset)s",
        params,
    )


def _condition(key: str, wanted: Any, params: dict[str, Any]) -> str:
    operators = _operators(wanted)
    name = f"key{len(params)}"
    params[name] = key
    parts = []
    for operator, operand in operators.items():
        value = f"value{len(params)}"
        params[value] = jsonb(operand)
        found, given = f"(value -> %({name})s)", f"%({value})s::jsonb"
        if operator == "$eq":
            parts.append(f"{found} = {given}")
        elif operator == "$ne":
            parts.append(f"{found} <> {given}")
        else:
            # jsonb orders values of different types too; here they are no match.
            same_type = f"jsonb_typeof({found}) = jsonb_typeof({given})"
            parts.append(f"{same_type} AND {found} {COMPARISONS[operator]} {given}")
    return f"({' AND '.join(parts)})"


def _operators(wanted: Any) -> dict[str, Any]:
    if not (isinstance(wanted, dict) and any(k.startswith("$") for k in wanted)):
        return {"$eq": wanted}
    for operator in wanted:
        if operator not in ("$eq", "$ne", *COMPARISONS):
            raise UnsupportedOperator(f"Unsupported operator: {operator}")
    return wanted
