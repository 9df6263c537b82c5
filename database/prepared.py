"""Prepared statements of the hot path, on Django's connection but without the ORM.

Django sends parameters as literals, so Postgres plans each statement again. The
statements here are prepared once per connection. Parameters are bound on the server, so
a statement has to cast those whose types are not clear.

Stored JSON is returned as `orjson.Fragment`: text that is passed on without parsing.
Times can be returned as text in the wire's form.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, cast

import orjson
import psycopg
from django.core.exceptions import EmptyResultSet
from django.db import DEFAULT_DB_ALIAS, connection, connections
from django.db.models import QuerySet
from psycopg.abc import Buffer
from psycopg.adapt import Loader
from psycopg.rows import dict_row
from psycopg.types.datetime import TimestamptzLoader

from spool.database import direct
from spool.database.direct import Row
from spool.database.json import from_jsonb, moment
from spool.database.postgres.base import DatabaseWrapper


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


LOADERS: direct.Kinds = (("jsonb", FragmentLoader),)
WIRE_LOADERS: direct.Kinds = (*LOADERS, ("timestamptz", MomentLoader))


def fetch_all(
    statement: str,
    params: Mapping[str, Any],
    *,
    for_wire: bool = False,
    is_constant: bool = True,
) -> list[Row]:
    """Execute a statement, in the thread's transaction if there is one.

    `for_wire` returns times as text. A statement is only prepared if `is_constant`:
    others, and their plans, depend on the client's filters.
    """
    kinds = WIRE_LOADERS if for_wire else LOADERS
    with _database() as database:
        session = database.session
        result = session.execute(statement, params, prepares=is_constant)
        _log(database, statement, params)
        return session.loaders(kinds).rows(result)


def fetch_one(
    statement: str, params: Mapping[str, Any], *, for_wire: bool = False
) -> Row | None:
    """The first row; None if there is none."""
    rows = fetch_all(statement, params, for_wire=for_wire)
    return rows[0] if rows else None


def fetch_dicts(
    statement: str, params: Mapping[str, Any], *, is_constant: bool
) -> list[dict[str, Any]]:
    """As `fetch_all`, with rows as dicts, keyed by the names of the columns."""
    if not is_constant:
        return _fetched_by_cursor(statement, params)
    with _database() as database:
        session = database.session
        result = session.execute(statement, params)
        _log(database, statement, params)
        names = direct.column_names(result)
        rows = session.loaders(LOADERS).rows(result) if names else []
        return [dict(zip(names, row, strict=True)) for row in rows]


def _fetched_by_cursor(
    statement: str, params: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """The rows of a statement whose parameters may be of any type."""
    with (
        _database() as database,
        psycopg.Cursor(database.connection, row_factory=dict_row) as cursor,
    ):
        cursor.adapters.register_loader("jsonb", FragmentLoader)
        cursor.execute(statement, params)
        _log(database, statement, params)
        return cursor.fetchall() if cursor.description else []


@contextmanager
def _database() -> Iterator[DatabaseWrapper]:
    """Django's connection of this thread, ready for a query, with Django's errors."""
    database = cast(DatabaseWrapper, connections[DEFAULT_DB_ALIAS])
    database.validate_no_broken_transaction()
    # As Django does before the first query of a request.
    database.close_if_health_check_failed()
    database.ensure_connection()
    with database.wrap_database_errors:
        yield database


def _log(database: DatabaseWrapper, statement: str, params: Mapping[str, Any]) -> None:
    if database.queries_logged:  # Tests count statements.
        log: Any = database.queries_log
        log.append({"sql": statement, "params": params})


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
