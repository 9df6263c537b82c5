"""Prepared statements of the hot path, on Django's connection but without the ORM.

Django sends parameters as literals, so Postgres plans each statement again. These are
prepared once per connection. Parameters are bound on the server, so a statement has to
cast them if their type is not clear.

Stored JSON is returned as `orjson.Fragment`: text that is passed on without parsing.
Times can be returned as text in the wire's form, too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import orjson
import psycopg
from django.conf import settings
from django.core.exceptions import EmptyResultSet
from django.db import connection
from django.db.models import QuerySet
from psycopg.abc import Buffer
from psycopg.adapt import Loader
from psycopg.types.datetime import TimestamptzLoader

from spool.database.json import from_jsonb, moment


class FragmentLoader(Loader):
    """Loads a `jsonb` as JSON text that `database.json.dumps` copies."""

    def load(self, data: Buffer) -> Any:
        return orjson.Fragment(bytes(data))


class MomentLoader(Loader):
    """Loads a `timestamptz` as text, as `database.json.moment` writes it."""

    _times: TimestamptzLoader | None = None

    def load(self, data: Buffer) -> Any:
        # Django's connections have the time zone UTC: 2026-01-02 03:04:05.678+00
        text = bytes(data).decode()
        if len(text) > 26 and text[10] == " " and text.endswith("+00"):
            return f"{text[:10]}T{text[11:-3]:0<15}+00:00"
        if self._times is None:
            self._times = TimestamptzLoader(self.oid, self.connection)
        return moment(self._times.load(data))


def fetch_all(
    statement: str,
    params: Mapping[str, Any],
    *,
    for_wire: bool = False,
    is_constant: bool = True,
) -> list[tuple[Any, ...]]:
    """The rows of a statement, run in the thread's transaction if there is one.

    `for_wire` returns times as text. A statement that is not constant is not prepared:
    it depends on the client's filters, and so does its plan.
    """
    with _executed(statement, params, is_constant=is_constant) as cursor:
        if for_wire:
            cursor.adapters.register_loader("timestamptz", MomentLoader)
        return cursor.fetchall()


def fetch_one(
    statement: str, params: Mapping[str, Any], *, for_wire: bool = False
) -> tuple[Any, ...] | None:
    """The first row; None if there is none."""
    rows = fetch_all(statement, params, for_wire=for_wire)
    return rows[0] if rows else None


def fetch_dicts(
    statement: str, params: Mapping[str, Any], *, is_constant: bool
) -> list[dict[str, Any]]:
    """As `fetch_all`, with the names of the columns."""
    with _executed(statement, params, is_constant=is_constant) as cursor:
        names = [column.name for column in cursor.description or ()]
        return [dict(zip(names, row, strict=True)) for row in cursor] if names else []


@contextmanager
def _executed(
    statement: str, params: Mapping[str, Any], *, is_constant: bool
) -> Iterator[psycopg.Cursor[Any]]:
    connection.validate_no_broken_transaction()
    # As Django does before the first query of a request.
    connection.close_if_health_check_failed()
    connection.ensure_connection()
    with (
        connection.wrap_database_errors,
        psycopg.Cursor(connection.connection) as cursor,
    ):
        cursor.adapters.register_loader("jsonb", FragmentLoader)
        prepare = is_constant and settings.DATABASE_PREPARED_STATEMENTS
        cursor.execute(statement, params, prepare=prepare)
        if connection.queries_logged:  # Tests count statements.
            log: Any = connection.queries_log
            log.append({"sql": statement, "params": params})
        yield cursor


def fetch_values(values: QuerySet[Any, tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """The rows of a `values_list` for the wire: unparsed JSON, and times as text."""
    try:
        statement, params = values.query.sql_with_params()
    except EmptyResultSet:
        return []
    with connection.cursor() as cursor:
        cursor.cursor.adapters.register_loader("jsonb", FragmentLoader)
        cursor.cursor.adapters.register_loader("timestamptz", MomentLoader)
        cursor.execute(statement, params)
        return list(cursor.fetchall())


def plain(stored: Any) -> Any:
    """Parse stored JSON that is not passed on unchanged."""
    if isinstance(stored, orjson.Fragment):
        return from_jsonb(orjson.dumps(stored))
    return stored
