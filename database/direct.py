"""Executes statements by direct calls of libpq, without the layers of a cursor.

Only for the few statements of the hot path. Each is prepared once per connection. Its
parameters are sent as text, and Postgres derives their types: a statement has to cast
those that are not clear. A small statement costs 10 us instead of psycopg's 70, and the
interpreter's lock is released once instead of three times. This uses only `pq`,
psycopg's documented interface to libpq, and psycopg's conversion of rows.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import lru_cache
from typing import Any, NamedTuple
from uuid import UUID

from django.conf import settings
from psycopg import AsyncConnection, Connection, DataError, OperationalError
from psycopg.adapt import AdaptersMap, Loader, Transformer
from psycopg.errors import error_from_result
from psycopg.pq import DiagnosticField, ExecStatus, TransactionStatus
from psycopg.pq.abc import PGresult
from psycopg.types.json import Json, Jsonb

Row = tuple[Any, ...]
Param = bytes | None
# Names of types of Postgres, and how their values are loaded.
Kinds = tuple[tuple[str, type[Loader]], ...]

_PLACEHOLDER = re.compile(r"%\((\w+)\)([sb])|%(%)")


class Statement(NamedTuple):
    """SQL as Postgres takes it, with `$1`, `$2` for its parameters."""

    sql: bytes
    names: tuple[str, ...]
    # The format of each parameter: 0 for text, 1 for binary.
    formats: tuple[int, ...]

    def params(self, values: Mapping[str, Any]) -> list[Param]:
        return [
            value if is_bytes or value is None else _text(value)
            for is_bytes, value in zip(
                self.formats, map(values.__getitem__, self.names), strict=True
            )
        ]


@lru_cache(maxsize=1024)
def parsed(sql: str) -> Statement:
    """Parse a statement in psycopg's form: `%(name)s`, or `%(name)b` for bytes."""
    formats: dict[str, int] = {}

    def place(found: re.Match[str]) -> str:
        name, kind, percent = found.groups()
        if percent:
            return "%"
        formats[name] = int(kind == "b")
        return f"${list(formats).index(name) + 1}"

    text = _PLACEHOLDER.sub(place, sql)
    return Statement(text.encode(), tuple(formats), tuple(formats.values()))


def _text(value: Any) -> bytes:
    text = _WRITERS[type(value)](value) if type(value) in _WRITERS else _other(value)
    if b"\0" in text:  # libpq would end the text here.
        raise DataError("PostgreSQL text fields cannot contain NUL (0x00) bytes")
    return text


def _other(value: Any) -> bytes:
    for kind, write in _WRITERS.items():
        if isinstance(value, kind):
            return write(value)
    raise TypeError(f"a parameter of the type {type(value).__name__}")


def _json(value: Json | Jsonb) -> bytes:
    text = value.dumps(value.obj) if value.dumps else None
    if not isinstance(text, bytes):
        raise TypeError("JSON must be written by database.json")
    return text


def _array(values: list[Any]) -> bytes:
    return b"{%b}" % b",".join(map(_element, values))


def _element(value: Any) -> bytes:
    if value is None:
        return b"NULL"
    text = _text(value).replace(b"\\", b"\\\\").replace(b'"', b'\\"')
    return b'"%b"' % text


_WRITERS: dict[type, Callable[[Any], bytes]] = {
    # For members of a text enumeration this is the value; `str()` may be another text.
    str: lambda value: str.__str__(value).encode(),
    UUID: lambda value: value.hex.encode(),
    bool: lambda value: b"t" if value else b"f",
    int: lambda value: b"%d" % value,
    float: lambda value: repr(value).encode(),
    datetime: lambda value: value.isoformat().encode(),
    Json: _json,
    Jsonb: _json,
    list: _array,
}


class Loaders:
    """Converts rows of a connection as psycopg does, except for these kinds."""

    def __init__(
        self, connection: Connection[Any] | AsyncConnection[Any], kinds: Kinds
    ) -> None:
        self.connection = connection
        self.adapters = AdaptersMap(connection.adapters)
        for kind, loader in kinds:
            self.adapters.register_loader(kind, loader)
        # Reused, since it caches the loaders that it creates.
        self._transformer = Transformer(self)

    def rows(self, result: PGresult) -> list[Row]:
        self._transformer.set_pgresult(result)
        try:
            return self._transformer.load_rows(0, result.ntuples, tuple)
        finally:
            self._transformer.set_pgresult(None)  # Don't keep it: it may be large.


class Session:
    """A connection, and the statements that are prepared on it."""

    def __init__(self, connection: Connection[Any]) -> None:
        self.connection = connection
        self._pgconn = connection.pgconn
        self._names: dict[bytes, bytes] = {}
        self._loaders: dict[Kinds, Loaders] = {}

    def loaders(self, kinds: Kinds) -> Loaders:
        if (known := self._loaders.get(kinds)) is None:
            known = self._loaders[kinds] = Loaders(self.connection, kinds)
        return known

    def execute(
        self, statement: str, values: Mapping[str, Any], *, prepares: bool = True
    ) -> PGresult:
        """Execute a statement, blocking the thread. Raises psycopg's errors."""
        written = parsed(statement)
        params: Any = written.params(values)
        sql, _, formats = written
        if not self.connection.autocommit:
            self._begin()
        if not (prepares and settings.DATABASE_PREPARED_STATEMENTS):
            return checked(self._pgconn.exec_params(sql, params, None, formats))
        if (name := self._names.get(sql)) is None:
            name = b"spool_%d" % len(self._names)
            checked(self._pgconn.prepare(name, sql))
            self._names[sql] = name
        return checked(self._pgconn.exec_prepared(name, params, formats))

    def _begin(self) -> None:
        """Begin the transaction, as psycopg does before its first statement."""
        if self._pgconn.transaction_status == TransactionStatus.IDLE:
            checked(self._pgconn.exec_(b"BEGIN"))


def column_names(result: PGresult) -> list[str]:
    names = (result.fname(number) for number in range(result.nfields))
    return [name.decode() for name in names if name is not None]


def checked(result: PGresult) -> PGresult:
    """Return the result, or raise its error."""
    if result.status in _GOOD:
        return result
    if result.error_field(DiagnosticField.SQLSTATE) is None:
        # The error is not from Postgres: the connection is lost.
        raise OperationalError(result.get_error_message())
    raise error_from_result(result)


_GOOD = (ExecStatus.TUPLES_OK, ExecStatus.COMMAND_OK)
