"""Threads in the wire's form, read without creating `Thread` objects.

Their JSON is passed on unparsed, as Postgres returns it: a state may be megabytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from spool.access.scope import Scope
from spool.database import prepared
from spool.database.json import jsonb
from spool.database.prepared import plain
from spool.threads import statements
from spool.threads.models import Thread, ThreadQuerySet, ordered
from spool.threads.serializers import COLUMNS as SELECTABLE
from spool.threads.statements import COLUMNS, TTL_COLUMNS
from spool.threads.thread_request import NewThread, ThreadQuery
from spool.threads.ttl import ttl_params

Body = dict[str, Any]


def find(scope: Scope, thread_id: UUID, *, with_ttl: bool = False) -> Body | None:
    """The body of one thread. None if it does not exist, or the caller can't see it."""
    if scope.is_plain:
        statement = statements.READ_WITH_TTL if with_ttl else statements.READ
        params = {"id": thread_id, **scope.params}
        row = prepared.fetch_one(statement, params, for_wire=True)
    else:
        visible = Thread.objects.visible_to(scope).filter(pk=thread_id)
        columns = (*COLUMNS, *TTL_COLUMNS) if with_ttl else COLUMNS
        row = next(iter(prepared.fetch_values(visible.values_list(*columns))), None)
    if row is None:
        return None
    found = _body(row[: len(COLUMNS)])
    if with_ttl:
        strategy, minutes, expires_at = row[len(COLUMNS) :]
        ttl = {"strategy": strategy, "ttl_minutes": minutes, "expires_at": expires_at}
        found["ttl"] = None if minutes is None else ttl
    return found


def insert(new: NewThread) -> Body | None:
    """Store a thread. Returns its body, or None if a thread with its id exists."""
    params = {"id": new.id, "metadata": jsonb(new.metadata), **ttl_params(new.ttl)}
    inserted = prepared.fetch_one(statements.INSERT, params, for_wire=True)
    if inserted is None:
        return None
    (now,) = inserted
    idle = Thread.Status.IDLE.value
    return _body((new.id, now, now, now, new.metadata, idle, {}, *[None] * 4))


def search(scope: Scope, query: ThreadQuery, names: Sequence[str]) -> list[Body]:
    """The bodies of a page of threads, and one more: `names`, or all fields.

    Only for plain scopes.
    """
    columns = _columns_of(names) if names else COLUMNS
    statement, params = statements.search(scope, query, columns)
    found = prepared.fetch_all(statement, params, for_wire=True, is_constant=False)
    return [_selected(names, row) if names else _body(row) for row in found]


def bodies(threads: ThreadQuerySet, names: Sequence[str]) -> list[Body]:
    """The bodies of the threads of a queryset: `names`, or all fields."""
    columns = _columns_of(names) if names else COLUMNS
    found = prepared.fetch_values(threads.values_list(*columns))
    return [_selected(names, row) if names else _body(row) for row in found]


def _columns_of(names: Sequence[str]) -> tuple[str, ...]:
    return (*(SELECTABLE[name] for name in names), "interrupt_order")


def _selected(names: Sequence[str], row: tuple[Any, ...]) -> Body:
    *found, order = row
    shown = dict(zip(names, found, strict=True))
    if order is not None and "interrupts" in shown:
        shown["interrupts"] = _in_order(shown["interrupts"], order)
    return shown


def _body(row: tuple[Any, ...]) -> Body:
    """One row of `COLUMNS`. `interrupts` and `error` appear once a run has ended."""
    thread_id, created_at, updated_at, state_updated_at, *more = row
    metadata, status, config, values, interrupts, error, order = more
    shown = {
        "thread_id": thread_id,
        "created_at": created_at,
        "updated_at": updated_at,
        "state_updated_at": state_updated_at,
        "metadata": metadata,
        "status": status,
        "config": config,
        "values": values,
    }
    if interrupts is not None or error is not None:
        shown["interrupts"] = _in_order(interrupts, order) or {}
        shown["error"] = error
    return shown


def _in_order(interrupts: Any, order: Any) -> Any:
    if interrupts is None or order is None:
        return interrupts
    return ordered(plain(interrupts), plain(order))
