"""The SQL of the requests that clients make most often. Everything else uses the ORM.

Each statement is for a plain scope, and filters by its owner.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from spool.access.scope import OWNED, Scope
from spool.database.json import jsonb
from spool.threads.thread_request import ThreadQuery

COLUMNS = (
    *("id", "created_at", "updated_at", "state_updated_at", "metadata", "status"),
    *("config", "values", "interrupts", "error", "interrupt_order"),
)
TTL_COLUMNS = ("ttl_strategy", "ttl_minutes", "expires_at")


def _read(columns: Sequence[str]) -> str:
    return f"""
SELECT {", ".join(columns)} FROM threads
WHERE id = %(id)s AND discarded_at IS NULL AND {OWNED}
"""


READ = _read(COLUMNS)
READ_WITH_TTL = _read((*COLUMNS, *TTL_COLUMNS))

# One statement: a concurrent insert of the same id returns no row, and raises no error.
INSERT = """
INSERT INTO threads (
    id, status, resting_status, metadata, config, created_at, updated_at,
    state_updated_at, ttl_minutes, ttl_strategy, expires_at
)
VALUES (
    %(id)s, 'idle', 'idle', %(metadata)s, '{}', now(), now(), now(),
    %(ttl_minutes)s::float8, %(ttl_strategy)s,
    now() + make_interval(secs => %(ttl_minutes)s::float8 * 60)
)
ON CONFLICT (id) DO NOTHING
RETURNING created_at
"""


def search(
    scope: Scope, query: ThreadQuery, columns: Sequence[str]
) -> tuple[str, dict[str, Any]]:
    """A page of threads, with one more row to see whether there are more.

    Returns the SQL and its parameters. The rows are those of `ThreadQuerySet.matching`
    and `in_order`.
    """
    conditions = ["discarded_at IS NULL"]
    params: dict[str, Any] = dict(scope.params)
    params |= {"limit": query.limit + 1, "offset": query.offset}
    if scope.rows:
        # Not `OWNED`, with which Postgres would not use the index on owners.
        conditions.append("owner = %(scope_owner)s")
    if query.metadata:
        conditions.append("metadata @> %(metadata)s")
        params["metadata"] = jsonb(query.metadata)
    if query.values:
        conditions.append('"values" @> %(values)s')
        params["values"] = jsonb(query.values)
    if query.status:
        conditions.append("status = %(status)s")
        params["status"] = query.status
    if query.ids:
        conditions.append("id = ANY(%(ids)s)")
        params["ids"] = list(query.ids)
    return (
        f"SELECT {', '.join(_quoted(columns))} FROM threads "
        f"WHERE {' AND '.join(conditions)} ORDER BY {_order(query)} "
        "LIMIT %(limit)s OFFSET %(offset)s",
        params,
    )


def _order(query: ThreadQuery) -> str:
    """The order of an index, forwards or backwards, including ties."""
    forwards, backwards = ("DESC", "ASC") if query.descending else ("ASC", "DESC")
    if query.sort_by == "status":
        return f"status {forwards}, created_at {backwards}, id {forwards}"
    ties = "" if query.sort_by == "id" else f", id {backwards}"
    return f"{query.sort_by} {forwards}{ties}"


def _quoted(columns: Sequence[str]) -> list[str]:
    # `values` is a keyword of SQL.
    return [f'"{column}"' for column in columns]
