from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from spool.database.loop import conninfo

NAME = "spool_prepared"


def execute(statement: str) -> None:
    server = make_conninfo(conninfo(), dbname="postgres")
    with psycopg.connect(server, autocommit=True) as conn:
        conn.execute(statement)


@pytest.fixture
def empty() -> Iterator[str]:
    """The URL of a new, empty database."""
    execute(f"DROP DATABASE IF EXISTS {NAME} WITH (FORCE)")
    execute(f"CREATE DATABASE {NAME}")
    yield make_conninfo(conninfo(), dbname=NAME)
    execute(f"DROP DATABASE {NAME} WITH (FORCE)")
