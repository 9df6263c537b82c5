"""Preparing a database, from any state, and by several processes at once."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable

import psycopg
import pytest
from langgraph.checkpoint.postgres import PostgresSaver

from spool.tests.live import ROOT

pytestmark = pytest.mark.e2e


def prepare(database: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-W", "ignore", "manage.py", "prepare"],
        cwd=ROOT,
        env={**os.environ, "DATABASE_URL": database},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def by_langgraph(database: str) -> None:
    with PostgresSaver.from_conn_string(database) as saver:
        saver.setup()


def by_langgraph_until_it_was_killed(database: str) -> None:
    with psycopg.connect(database, autocommit=True) as conn:
        for version, statement in enumerate(PostgresSaver.MIGRATIONS[:5]):
            conn.execute(statement)
            if version < 4:
                conn.execute(
                    "INSERT INTO checkpoint_migrations (v) VALUES (%s)", [version]
                )


@pytest.mark.parametrize("make", [by_langgraph, by_langgraph_until_it_was_killed])
def test_checkpoint_tables_may_be_there_already(
    empty: str, make: Callable[[str], None]
) -> None:
    make(empty)

    for _ in range(2):
        _, errors = (preparing := prepare(empty)).communicate()

        assert preparing.returncode == 0, errors
    with psycopg.connect(empty) as conn:
        versions = conn.execute("SELECT v FROM checkpoint_migrations ORDER BY v")
        assert [v for (v,) in versions] == list(range(len(PostgresSaver.MIGRATIONS)))


def test_several_at_once_wait_for_each_other(empty: str) -> None:
    at_once = [prepare(empty) for _ in range(3)]

    told = [process.communicate() for process in at_once]

    assert [process.returncode for process in at_once] == [0, 0, 0], told
    # One admin is created, and one process prints its password.
    assert sum("admin password: " in output for output, _ in told) == 1
