"""`manage.py` prints one line, and no traceback, if Postgres can't answer."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

ROOT = Path(__file__).resolve().parent.parent.parent
NOWHERE = "postgresql://nobody@127.0.0.1:1/none"


def told(url: str, *arguments: str) -> list[str]:
    command = subprocess.run(
        [sys.executable, "manage.py", *arguments],
        cwd=ROOT,
        env={**os.environ, "DATABASE_URL": url},
        capture_output=True,
        text=True,
    )
    assert command.returncode == 1
    return (command.stdout + command.stderr).splitlines()


@pytest.mark.parametrize(
    "arguments",
    [
        ("create_api_key", "alice"),
        ("reindex_store",),
        ("createsuperuser", "--noinput", "--username", "x", "--email", ""),
    ],
)
def test_a_postgres_that_is_not_there_is_one_line(arguments: tuple[str, ...]) -> None:
    (line,) = told(NOWHERE, *arguments)

    assert line.startswith("spool: Postgres (DATABASE_URL): connection failed: ")


def test_a_postgres_without_tables_is_one_line() -> None:
    url = os.environ["DATABASE_URL"]
    with psycopg.connect(url, autocommit=True) as conn:
        conn.execute("DROP DATABASE IF EXISTS tableless")
        conn.execute("CREATE DATABASE tableless")

    (line,) = told(make_conninfo(url, dbname="tableless"), "create_api_key", "alice")

    assert line.startswith(
        'spool: Postgres (DATABASE_URL): relation "api_keys" does not exist'
    )


def test_the_traceback_is_there_for_who_asks() -> None:
    lines = told(NOWHERE, "create_api_key", "alice", "--traceback")

    assert lines[0].startswith("Traceback")
