"""Statements by libpq's own calls."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from django.db import (
    DataError,
    IntegrityError,
    OperationalError,
    connection,
    transaction,
)

from spool.database import direct, prepared
from spool.database.json import jsonb, ordered_json
from spool.threads.models import SweptThreads, Thread

pytestmark = pytest.mark.django_db

ID = UUID("01a22a2d-87ac-7566-b0ee-9348352e9683")
NOW = datetime(2026, 1, 2, 3, 4, 5, 678, UTC)


@pytest.fixture(params=[True, False], ids=["prepared", "unprepared"])
def is_prepared(request: Any, settings: Any) -> bool:
    settings.DATABASE_PREPARED_STATEMENTS = request.param
    return bool(request.param)


def is_direct(statement: str, values: dict[str, Any]) -> bool:
    """Whether a statement did not need a cursor of psycopg."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_prepared_statements")
        before = cursor.fetchone()
        prepared.fetch_all(statement, values)
        cursor.execute("SELECT count(*) FROM pg_prepared_statements")
        return bool(cursor.fetchone() != before)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("text", "ä 'b' %s $1"),
        ("text", Thread.Status.BUSY),
        ("text", ""),
        ("uuid", ID),
        ("boolean", False),
        ("integer", -7),
        ("bigint", 2**40),
        ("float8", 0.1),
        ("float8", float("inf")),
        ("timestamptz", NOW),
        ("timestamptz", None),
    ],
)
def test_values_arrive_as_they_were_sent(
    kind: str, value: Any, is_prepared: bool
) -> None:
    [row] = prepared.fetch_all(
        f"SELECT %(one)s::{kind}, %(one)s::{kind}", {"one": value}
    )

    assert row == (value, value)


def test_json_arrives_as_it_was_sent(is_prepared: bool) -> None:
    values = {"one": jsonb({"a": "ä\0b"}), "two": ordered_json({"b": 1, "a": 2})}

    [(one, two)] = prepared.fetch_all("SELECT %(one)s::jsonb, %(two)s::json", values)

    assert prepared.plain(one) == {"a": "ä\ufffdb"}
    assert list(two.items()) == [("b", 1), ("a", 2)]


def test_bytes_are_sent_as_they_are() -> None:
    values = {"data": b"\0\xff'", "size": 3}

    [row] = prepared.fetch_all(
        "SELECT %(data)b::bytea, octet_length(%(data)b) = %(size)s, 100 %% 7", values
    )

    assert row == (b"\0\xff'", True, 2)


def test_a_statement_is_prepared_once() -> None:
    statement = "SELECT %(one)s::int + 1"

    assert is_direct(statement, {"one": 1})
    assert not is_direct(statement, {"one": 2})


def test_lists_arrive_as_they_were_sent(is_prepared: bool) -> None:
    texts = ["", "a,b", 'say "so"', "\\", "NULL", "{}", None]
    values = {"texts": texts, "ids": [ID], "empty": []}
    statement = "SELECT %(texts)s::text[], %(ids)s::uuid[], %(empty)s::float8[]"

    [row] = prepared.fetch_all(statement, values)

    assert row == (texts, [ID], [])


def test_other_types_are_refused() -> None:
    with pytest.raises(TypeError, match="a parameter of the type object"):
        prepared.fetch_all("SELECT %(one)s::text", {"one": object()})


def test_rows_have_the_names_of_their_columns() -> None:
    statement = "SELECT %(one)s::int AS one, 2 AS two"

    found = prepared.fetch_dicts(statement, {"one": 1}, is_constant=True)

    assert found == [{"one": 1, "two": 2}]
    assert prepared.fetch_dicts("RESET work_mem", {}, is_constant=True) == []


def test_a_nul_character_is_refused(is_prepared: bool) -> None:
    with pytest.raises(DataError):
        prepared.fetch_all("SELECT %(text)s::text", {"text": "a\0b"})


def test_errors_are_those_of_django(is_prepared: bool) -> None:
    values = {"id": Thread.objects.create().id}

    with pytest.raises(IntegrityError, match="violates"), transaction.atomic():
        prepared.fetch_all("INSERT INTO threads (id) VALUES (%(id)s)", values)


@pytest.mark.django_db(transaction=True)
def test_a_lost_connection_is_replaced_after_its_error(is_prepared: bool) -> None:
    with pytest.raises(OperationalError):
        prepared.fetch_all("SELECT pg_terminate_backend(pg_backend_pid())", {})

    connection.close_if_unusable_or_obsolete()  # As between two requests.

    assert prepared.fetch_all("SELECT %(one)s::int", {"one": 1}) == [(1,)]


@pytest.mark.django_db(transaction=True)
def test_the_first_statement_of_a_transaction_is_part_of_it() -> None:
    insert = "INSERT INTO swept_threads (kind, total) VALUES (%(kind)s, 1)"
    with transaction.atomic():
        prepared.fetch_all(insert, {"kind": "expired"})
        transaction.set_rollback(True)

    assert not SweptThreads.objects.exists()


def test_placeholders_are_numbered_by_name() -> None:
    statement = direct.parsed("SELECT %(b)s, %(a)b, %(b)s")

    assert statement.sql == b"SELECT $1, $2, $1"
    assert (statement.names, statement.formats) == (("b", "a"), (0, 1))
    assert statement.params({"a": b"\0", "b": True}) == [b"t", b"\0"]


def test_a_value_out_of_the_range_of_its_type_is_an_error() -> None:
    with pytest.raises(DataError), transaction.atomic():
        prepared.fetch_all("SELECT %(one)s::int", {"one": 2**40})
