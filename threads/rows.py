"""Threads in the wire's form, read without creating `Thread` objects.

Their JSON is passed on unparsed, as Postgres returns it: a state may be megabytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from spool.access.scope import OWNED, Scope
from spool.database import prepared
from spool.database.json import moment
from spool.database.prepared import plain
from spool.threads.models import Thread, ThreadQuerySet, ordered
from spool.threads.serializers import COLUMNS as SELECTABLE

# Columns, and their names in `ttl`.
TTL = {
    "ttl_strategy": "strategy",
    "ttl_minutes": "ttl_minutes",
    "expires_at": "expires_at",
}
TIMES = {"created_at", "updated_at", "state_updated_at", "expires_at"}
COLUMNS = (
    "id",
    "created_at",
    "updated_at",
    "state_updated_at",
    "metadata",
    "status",
    "config",
    "values",
    "interrupts",
    "error",
    "interrupt_order",
    *TTL,
)
_READ = f"""
SELECT {", ".join(COLUMNS)} FROM threads
WHERE id = %(id)s AND discarded_at IS NULL AND {OWNED}
"""


def find(scope: Scope, thread_id: UUID, *, with_ttl: bool) -> dict[str, Any] | None:
    """The body of one thread. None if there is none that the caller can see."""
    if scope.is_plain:
        row = prepared.fetch_one(_READ, {"id": thread_id, **scope.params})
    else:
        visible = Thread.objects.visible_to(scope).filter(pk=thread_id)
        row = visible.values_list(*COLUMNS).first()
    return None if row is None else body(row, with_ttl=with_ttl)


def bodies(threads: ThreadQuerySet) -> list[dict[str, Any]]:
    """The bodies of these threads."""
    return [body(row) for row in prepared.fetch_json(threads.values_list(*COLUMNS))]


def selected(threads: ThreadQuerySet, names: Sequence[str]) -> list[dict[str, Any]]:
    """The selected fields of these threads, by their names on the wire."""
    columns = [*(SELECTABLE[name] for name in names), "interrupt_order"]
    rows = prepared.fetch_json(threads.values_list(*columns))
    return [_shown(dict(zip([*names, columns[-1]], r, strict=True))) for r in rows]


def body(row: tuple[Any, ...], *, with_ttl: bool = False) -> dict[str, Any]:
    """One row of `COLUMNS`. `interrupts` and `error` appear once a run has ended."""
    shown = _shown(dict(zip(COLUMNS, row, strict=True)))
    shown["thread_id"] = shown.pop("id")
    ttl = {TTL[name]: shown.pop(name) for name in TTL}
    if shown["interrupts"] is None and shown["error"] is None:
        del shown["interrupts"], shown["error"]
    elif shown["interrupts"] is None:
        shown["interrupts"] = {}
    if with_ttl:
        shown["ttl"] = ttl if ttl["ttl_minutes"] is not None else None
    return shown


def _shown(shown: dict[str, Any]) -> dict[str, Any]:
    """The row without `interrupt_order`, which is applied to its interrupts."""
    for name in TIMES & shown.keys():
        shown[name] = moment(shown[name])
    order = shown.pop("interrupt_order")
    if order is not None and shown.get("interrupts") is not None:
        shown["interrupts"] = ordered(plain(shown["interrupts"]), plain(order))
    return shown
