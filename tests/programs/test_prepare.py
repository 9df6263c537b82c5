"""Preparing a database, from any state, and by several processes at once."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from subprocess import CompletedProcess

import psycopg
import pytest
from langgraph.checkpoint.postgres import PostgresSaver

from spool.tests.commands import run_program

pytestmark = pytest.mark.e2e


def prepare(database: str) -> CompletedProcess[str]:
    environment = {**os.environ, "DATABASE_URL": database}
    return run_program("prepare", environment=environment)


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


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(by_langgraph, marks=pytest.mark.long),
        by_langgraph_until_it_was_killed,
    ],
)
def test_checkpoint_tables_may_be_there_already(
    empty: str, make: Callable[[str], None]
) -> None:
    make(empty)

    for _ in range(2):
        prepared = prepare(empty)

        assert prepared.returncode == 0, prepared.stderr
    with psycopg.connect(empty) as conn:
        versions = conn.execute("SELECT v FROM checkpoint_migrations ORDER BY v")
        assert [v for (v,) in versions] == list(range(len(PostgresSaver.MIGRATIONS)))


def test_several_at_once_wait_for_each_other(empty: str) -> None:
    with ThreadPoolExecutor(3) as pool:
        prepared = list(pool.map(prepare, [empty] * 3))

    assert [one.returncode for one in prepared] == [0, 0, 0], prepared
    # One admin is created, and one process prints its password.
    assert sum("admin password: " in one.stdout for one in prepared) == 1
