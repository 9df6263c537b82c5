"""Prepared statements of the hot path, on Django's connection but without the ORM.

Django sends parameters as literals, so Postgres plans each statement again. These are
prepared once per connection. Parameters are bound on the server, so a statement has to
cast them if their type is not clear.

Stored JSON is returned as `orjson.Fragment`: text that is passed on without parsing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson
import psycopg
from django.conf import settings
from django.core.exceptions import EmptyResultSet
from django.db import connection
from django.db.models import QuerySet
from psycopg.abc import Buffer
from psycopg.adapt import Loader

from spool.database.json import from_jsonb


class FragmentLoader(Loader):
    """Loads a `jsonb` as JSON text that `database.json.dumps` copies."""

    def load(self, data: Buffer) -> Any:
        return orjson.Fragment(bytes(data))


def fetch_all(statement: str, params: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    """The rows of a statement, run in the thread's transaction if there is one."""
    connection.validate_no_broken_transaction()
    connection.ensure_connection()
    with (
        connection.wrap_database_errors,
        psycopg.Cursor(connection.connection) as cursor,
    ):
        cursor.adapters.register_loader("jsonb", FragmentLoader)
        cursor.execute(statement, params, prepare=settings.DATABASE_PREPARED_STATEMENTS)
        return cursor.fetchall()


def fetch_one(statement: str, params: Mapping[str, Any]) -> tuple[Any, ...] | None:
    """The first row; None if there is none."""
    rows = fetch_all(statement, params)
    return rows[0] if rows else None


def fetch_json(values: QuerySet[Any, tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """The rows of a `values_list`, with unparsed JSON.

    Not prepared: the statement depends on the client's filters, and so does its plan.
    """
    try:
        statement, params = values.query.sql_with_params()
    except EmptyResultSet:
        return []
    with connection.cursor() as cursor:
        cursor.cursor.adapters.register_loader("jsonb", FragmentLoader)
        cursor.execute(statement, params)
        return list(cursor.fetchall())


def plain(stored: Any) -> Any:
    """Parse stored JSON that is not passed on unchanged."""
    if isinstance(stored, orjson.Fragment):
        return from_jsonb(orjson.dumps(stored))
    return stored
