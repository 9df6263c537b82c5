"""The store's SQL, for the API (Django's connection) and for graphs (an async pool).

Every statement takes `owner`. Parameters are named, so that both kinds of connection
run the same text. Values are returned as text, which both parse in the same way.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from langgraph.store.base import MatchCondition

from spool.database.json import clean_text, jsonb
from spool.store.namespaces import path_of

COLUMNS = (
    "path, key, value::text AS value, metadata::text AS metadata, created_at, "
    "updated_at, ttl_minutes"
)
ALIVE = "(expires_at IS NULL OR expires_at > now())"

_PLACES = "SELECT * FROM unnest(%(paths)s::text[], %(keys)s::text[])"
# Writers of several items lock them in one order, so that they can't deadlock. `put`
# does so too, because its items are sorted.
_LOCKED = f"""
    SELECT id FROM store_items
    WHERE owner = %(owner)s AND (path, key) IN ({_PLACES})
    ORDER BY path, key COLLATE "C" FOR NO KEY UPDATE
"""

GET = f"""
SELECT {COLUMNS} FROM store_items
WHERE owner = %(owner)s AND {ALIVE} AND (path, key) IN ({_PLACES})
"""
REFRESH = f"""
UPDATE store_items SET expires_at = now() + make_interval(secs => ttl_minutes * 60)
WHERE ttl_minutes IS NOT NULL AND {ALIVE} AND id IN ({_LOCKED})
"""


@dataclass(frozen=True)
class Permit:
    """An SQL condition, with parameters: unless it holds, a write changes nothing."""

    condition: str
    params: dict[str, Any]


ANY_TIME = Permit("TRUE", {})


_ITEMS = """unnest(
    %(paths)s::text[], %(keys)s::text[], %(values)s::text[], %(indexes)s::text[],
    %(minutes)s::float8[]
)"""
_ITEM = """(VALUES (
    %(path)s::text, %(key)s::text, %(value)s::text, %(index)s::text,
    %(ttl_minutes)s::float8
))"""


def put(permit: Permit) -> str:
    return _put(permit, _ITEMS)


def put_one(permit: Permit) -> str:
    """`put` of a single item, without arrays as parameters, which are slow to write."""
    return _put(permit, _ITEM)


def _put(permit: Permit, items: str) -> str:
    # `clock_timestamp()`, not `now()`: a writer that waited for a lock must get the
    # later time. `metadata` is null if none was given: the stored metadata is kept.
    return f"""
INSERT INTO store_items
    (owner, path, key, value, metadata, index, created_at, updated_at, ttl_minutes,
    expires_at)
SELECT %(owner)s, path, key, value::jsonb, coalesce(%(metadata)s::jsonb, '{{}}'),
    index::jsonb, now(), clock_timestamp(), minutes, now() + make_interval(secs => minutes * 60)
FROM {items} AS new (path, key, value, index, minutes)
WHERE {permit.condition}
ON CONFLICT (owner, path, key) DO UPDATE SET
    value = EXCLUDED.value, index = EXCLUDED.index, updated_at = clock_timestamp(),
    ttl_minutes = EXCLUDED.ttl_minutes, expires_at = EXCLUDED.expires_at,
    metadata = CASE WHEN %(metadata)s::jsonb IS NULL
            AND coalesce(store_items.expires_at > now(), true)
        THEN store_items.metadata ELSE EXCLUDED.metadata END,
    created_at = CASE WHEN store_items.expires_at <= now()
        THEN EXCLUDED.created_at ELSE store_items.created_at END
"""


def delete(permit: Permit) -> str:
    return f"DELETE FROM store_items WHERE {permit.condition} AND id IN ({_LOCKED})"


# Conditions in a filter. Postgres's planning time grows with the square of their count.
MAX_CONDITIONS = 100
COMPARISONS = {"$gt": ">", "$gte": ">=", "$lt": "<", "$lte": "<="}


class UnsupportedOperator(ValueError):
    """The filter has an unknown operator."""


class TooManyConditions(ValueError):
    """The filter has so many conditions that planning alone would be slow."""


def search(
    namespace: Sequence[str],
    given: Mapping[str, Any] | None,
    metadata: Mapping[str, Any] | None,
    *,
    limit: int,
    offset: int,
) -> tuple[str, dict[str, Any]]:
    """Items below a namespace whose value and metadata match, newest change first."""
    conditions, params = below(namespace)
    conditions += matching(given, params)
    conditions += containing(metadata, params)
    params |= {"limit": limit, "offset": offset}
    where = " AND ".join(["owner = %(owner)s", ALIVE, *conditions])
    return (
        f"SELECT {COLUMNS} FROM store_items WHERE {where} "
        "ORDER BY updated_at DESC, path, key LIMIT %(limit)s OFFSET %(offset)s",
        params,
    )


def below(
    namespace: Sequence[str], column: str = "path"
) -> tuple[list[str], dict[str, Any]]:
    """Match a namespace and all below it, as one range: "/" comes after "."."""
    if not namespace:
        return [], {}
    path = path_of(namespace)
    range_ = f"{column} >= %(first)s AND {column} < %(last)s"
    condition = f"({column} = %(path)s OR {range_})"
    return [condition], {"path": path, "first": f"{path}.", "last": f"{path}/"}


def matching(given: Mapping[str, Any] | None, params: dict[str, Any]) -> list[str]:
    """The conditions of a filter on values. Raises an error for a bad filter."""
    conditions = [(key, _operators(wanted)) for key, wanted in (given or {}).items()]
    if sum(len(operators) for _, operators in conditions) > MAX_CONDITIONS:
        raise TooManyConditions(f"filter: more than {MAX_CONDITIONS} conditions")
    return [_condition(key, operators, params) for key, operators in conditions]


def containing(metadata: Mapping[str, Any] | None, params: dict[str, Any]) -> list[str]:
    """The condition that an item's metadata contains `metadata`."""
    if not metadata:
        return []
    params["contained"] = jsonb(metadata)
    return ["metadata @> %(contained)s::jsonb"]


def namespaces(
    conditions: Iterable[MatchCondition],
    *,
    max_depth: int | None,
    limit: int,
    offset: int,
) -> tuple[str, dict[str, Any]]:
    """Distinct namespaces, cut to `max_depth` labels; `*` stands for one label.

    It skips through the index from one namespace to the next, however many items each
    has. After a namespace that was cut, it skips all below it, where that is correct.
    """
    listed = list(conditions)
    within, params = _range(listed)
    wanted = ["path IS NOT NULL", *_label_conditions(listed, params)]
    params |= {"limit": limit, "offset": offset}
    shown, beyond, kind = "path", "path || chr(1)", ""
    if max_depth is not None:
        params["depth"] = max_depth
        shown = f"array_to_string(({LABELS})[1:%(depth)s], '.') COLLATE \"C\""
        kind = "DISTINCT"
    if max_depth is not None and not _look_deeper(listed, max_depth):
        deeper = f"cardinality({LABELS}) > %(depth)s"
        beyond = f"CASE WHEN {deeper} THEN {shown} || '/' ELSE path || chr(1) END"
    first = f"""
        SELECT path FROM store_items
        WHERE owner = %(owner)s AND {ALIVE} AND {within}"""
    # Without DISTINCT, the scan ends as soon as the page is full.
    return (
        f"""
WITH RECURSIVE place AS (
    ({first} ORDER BY path LIMIT 1)
    UNION ALL
    SELECT ({first} AND path >= place.beyond ORDER BY path LIMIT 1)
    FROM (SELECT {beyond} AS beyond FROM place WHERE path IS NOT NULL) AS place
)
SELECT {kind} {shown} AS path FROM place WHERE {" AND ".join(wanted)}
{"ORDER BY path" if kind else ""} LIMIT %(limit)s OFFSET %(offset)s""",
        params,
    )


LABELS = "string_to_array(path, '.')"


def _look_deeper(conditions: list[MatchCondition], depth: int) -> bool:
    """Whether labels below `depth` affect what matches."""
    return any(c.match_type == "suffix" or len(c.path) > depth for c in conditions)


def _range(conditions: list[MatchCondition]) -> tuple[str, dict[str, Any]]:
    """The range of the index that contains all matches."""
    for condition in conditions:
        path = list(condition.path)
        fixed = path[: path.index("*")] if "*" in path else path
        if condition.match_type == "prefix" and fixed:
            first = path_of(fixed)
            params = {"first": first, "last": f"{first}/"}
            return "path >= %(first)s AND path < %(last)s", params
    return "TRUE", {}


def _label_conditions(
    conditions: list[MatchCondition], params: dict[str, Any]
) -> list[str]:
    """Conditions on labels. Their length is constant, and so is the planning time."""
    found = []
    for condition in conditions:
        wanted = [path_of([label]) for label in condition.path]
        name = f"labels{len(params)}"
        params[name] = wanted
        count = f"cardinality({LABELS})"
        first, last = ("1", str(len(wanted)))
        if condition.match_type == "suffix":
            first, last = f"{count} - {len(wanted) - 1}", count
        labels = f"({LABELS})[{first}:{last}]"
        found.append(f"{count} >= {len(wanted)}")
        if "*" not in wanted:
            found.append(f"{labels} = %({name})s::text[]")
        else:
            found.append(
                f"NOT EXISTS (SELECT FROM unnest({labels}, %({name})s::text[]) "
                "AS label (found, wanted) WHERE wanted <> '*' AND found <> wanted)"
            )
    return found


def _condition(key: str, operators: Mapping[str, Any], params: dict[str, Any]) -> str:
    name = f"key{len(params)}"
    params[name] = clean_text(str(key))
    parts = []
    for operator, operand in operators.items():
        value = f"value{len(params)}"
        params[value] = jsonb(operand)
        found, given = f"(value -> %({name})s)", f"%({value})s::jsonb"
        if operator == "$eq":
            whole = f"whole{len(params)}"
            params[whole] = jsonb({key: operand})
            # Containment uses the index, but matches more than equality does.
            parts.append(f"value @> %({whole})s::jsonb AND {found} = {given}")
        elif operator == "$ne":
            parts.append(f"{found} <> {given}")
        else:
            # jsonb also orders values of different types; here they don't match.
            same_type = f"jsonb_typeof({found}) = jsonb_typeof({given})"
            parts.append(f"{same_type} AND {found} {COMPARISONS[operator]} {given}")
    return f"({' AND '.join(parts)})"


def _operators(wanted: Any) -> Mapping[str, Any]:
    if not (isinstance(wanted, dict) and any(str(k).startswith("$") for k in wanted)):
        return {"$eq": wanted}
    for operator in wanted:
        if operator not in ("$eq", "$ne", *COMPARISONS):
            raise UnsupportedOperator(f"Unsupported operator: {operator}")
    return wanted
