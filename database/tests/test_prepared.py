from __future__ import annotations

from datetime import datetime

import pytest
from django.db import (
    DatabaseError,
    close_old_connections,
    connection,
    transaction,
)

from spool.database import prepared
from spool.database.json import clean, dumps, from_jsonb, moment

pytestmark = pytest.mark.django_db

STORED = (
    '{"a": [1, "\\u00e9\\ud83d\\ude00", null], "whole": 123456789012345678901234567890}'
)


def stored() -> object:
    [(document,)] = prepared.fetch_all("SELECT %(text)s::jsonb", {"text": STORED})
    return document


def test_stored_json_is_passed_on_as_it_is() -> None:
    written = dumps({"values": stored(), "other": 1})

    assert from_jsonb(written) == {"values": from_jsonb(STORED), "other": 1}


def test_stored_json_survives_beside_what_is_written_slowly() -> None:
    """An integer over 64 bits makes the slow path write the response."""
    written = dumps({"values": stored(), "other": 2**70})

    assert from_jsonb(written) == {"values": from_jsonb(STORED), "other": 2**70}
    assert clean(stored()) == from_jsonb(STORED)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("requests_before", [0, 1, 2])
def test_a_connection_that_postgres_has_closed_is_replaced(
    requests_before: int,
) -> None:
    """Even one that was used a moment ago, which is not checked by a query."""
    connection.ensure_connection()
    for _ in range(requests_before):
        close_old_connections()  # As before each request.
        prepared.fetch_all("SELECT 1", {})
    pid = connection.connection.info.backend_pid
    other = connection.copy()
    with other.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(%s, 5000)", [pid])
    other.close()

    close_old_connections()
    answers = prepared.fetch_all("SELECT 1", {})

    assert answers == [(1,)]


def test_it_is_part_of_the_transaction() -> None:
    with pytest.raises(DatabaseError), transaction.atomic():
        prepared.fetch_all("SELECT 1 / %(none)s::int", {"none": 0})

    with transaction.atomic():
        connection.set_rollback(True)
        with pytest.raises(transaction.TransactionManagementError):
            prepared.fetch_one("SELECT 1", {})


def test_there_may_be_no_row() -> None:
    assert (
        prepared.fetch_one("SELECT 1 WHERE %(found)s::bool", {"found": False}) is None
    )


@pytest.mark.parametrize(
    "time",
    [
        "2026-01-02 03:04:05",
        "2026-01-02 03:04:05.6",
        "2026-01-02 03:04:05.678901",
        "0999-12-31 23:59:59.000001",
    ],
)
@pytest.mark.parametrize("zone", ["UTC", "Asia/Kathmandu"])
def test_times_for_the_wire_are_as_moment_writes_them(time: str, zone: str) -> None:
    given = {"time": f"{time}+00"}

    with connection.cursor() as cursor, transaction.atomic():
        cursor.execute("SELECT set_config('TimeZone', %s, true)", [zone])
        sql = "SELECT %(time)s::timestamptz, NULL::timestamptz"
        [row] = prepared.fetch_all(sql, given, for_wire=True)

    assert row == (moment(datetime.fromisoformat(f"{time}+00:00")), None)
