"""Runs that are resumed after their worker or a connection has died."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.db import connection

from spool.database.loop import shared_loop
from spool.database.pool import Pool
from spool.runs.models import Run
from spool.runs.tests.executing import (
    Here,
    begun,
    checkpoint_rows,
    overtake,
    published,
    wait_for,
)
from spool.runs.worker.execution import HAND_BACK
from spool.store.models import StoreItem
from spool.threads.checkpoints import LostRun
from spool.threads.models import Thread
from spool.threads.state import get_state

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("agents"),
]


def test_a_run_that_is_handed_over_goes_on_where_it_was(
    here: Here, make: Callable[..., Run], thread: Thread, tmp_path: Path
) -> None:
    run = make()
    done = here.start(run)
    wait_for(lambda: begun(tmp_path) == ["one", "two"])
    here.stop(run, HAND_BACK)
    handed = done.result()
    assert handed is not None
    assert handed.next_run_id == run.id

    (tmp_path / "go").touch()
    here.execute(run)

    run.refresh_from_db()
    thread.refresh_from_db()
    assert begun(tmp_path) == ["one", "two", "two", "three"]
    assert (run.status, run.attempt) == ("success", 2)
    assert thread.values["log"] == ["one", "two", "three"]


@pytest.mark.parametrize(
    ("body", "done"),
    [
        ({"interrupt_before": ["two"]}, ["one"]),
        ({"interrupt_before": "*"}, []),
        ({"interrupt_after": ["one"]}, ["one"]),
        ({"interrupt_after": ["three"]}, ["one", "two", "three"]),
        ({}, ["one", "two", "three"]),
    ],
)
def test_an_attempt_that_was_done_but_for_its_end_does_nothing_again(
    here: Here,
    make: Callable[..., Run],
    thread: Thread,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    body: dict[str, Any],
    done: list[str],
) -> None:
    (tmp_path / "go").touch()
    run = make(durability="sync", **body)

    async def die(*_: Any, **__: Any) -> None:
        raise LostRun

    with monkeypatch.context() as patch:
        patch.setattr("spool.runs.lifecycle.end", die)
        assert here.execute(run) is None
    Run.objects.update(status="pending")  # As the tick does for a worker that died.
    here.execute(run)

    run.refresh_from_db()
    thread.refresh_from_db()
    assert (run.status, run.attempt) == ("success", 2)
    assert begun(tmp_path) == done
    assert thread.values.get("log", []) == done
    assert thread.status == ("idle" if len(done) == 3 else "interrupted")


def test_connections_that_die_together_cost_no_run(
    here: Here, make: Callable[..., Run], tmp_path: Path
) -> None:
    run = make()
    done = here.start(run)
    wait_for(lambda: begun(tmp_path) == ["one", "two"])
    here.loop.run(fill(here.loop.pool))

    kill_connections()
    (tmp_path / "go").touch()
    done.result()

    run.refresh_from_db()
    assert (run.status, run.attempt) == ("success", 1)
    assert begun(tmp_path) == ["one", "two", "three"]


def test_connections_that_died_while_idle_fail_no_read(
    here: Here, make: Callable[..., Run], thread: Thread, tmp_path: Path
) -> None:
    (tmp_path / "go").touch()
    here.execute(make())
    thread.refresh_from_db()
    shared_loop().run(fill(shared_loop().pool))

    kill_connections()

    assert get_state(thread).values["log"] == ["one", "two", "three"]


async def fill(pool: Pool) -> None:
    """Open every connection that the pool may have."""

    async def use() -> None:
        async with pool.connection() as conn:
            await conn.execute("SELECT pg_sleep(0.1)")

    await asyncio.gather(*[use() for _ in range(pool.max_size)])


def kill_connections() -> None:
    """Kill all connections but the test's own, as a restart of Postgres does."""
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT pg_terminate_backend(pid, 2000) FROM pg_stat_activity
            WHERE datname = current_database() AND pid <> pg_backend_pid()"""
        )


def test_an_attempt_that_was_taken_over_writes_nothing_more(
    here: Here, make: Callable[..., Run], thread: Thread, tmp_path: Path
) -> None:
    run = make(durability="sync")
    done = here.start(run)
    wait_for(lambda: begun(tmp_path) == ["one", "two"])

    overtake(run)
    saved = checkpoint_rows(thread.id)
    (tmp_path / "go").touch()

    assert done.result() is None
    run.refresh_from_db()
    assert (run.status, run.attempt) == ("running", 2)
    assert checkpoint_rows(thread.id) == saved
    assert "end" not in [name for name, _ in published(thread.id)]


@pytest.mark.parametrize(
    ("attempt", "remembered"),
    [(1, {"put": "the run"}), (2, {"put": "another", "deleted": "another"})],
    ids=["its own", "another's"],
)
def test_only_the_attempt_that_counts_writes_to_the_store(
    attempt: int,
    remembered: dict[str, str],
    here: Here,
    make: Callable[..., Run],
    tmp_path: Path,
) -> None:
    run = make("remembers")
    for key in ("put", "deleted"):
        StoreItem.objects.create(
            owner=run.owner, path="memory", key=key, value={"by": "another"}
        )
    done = here.start(run)
    wait_for(lambda: begun(tmp_path) == ["remember"])

    Run.objects.filter(pk=run.pk).update(attempt=attempt)
    (tmp_path / "go").touch()
    done.result()

    items = StoreItem.objects.values_list("key", "value__by")
    assert dict(items) == remembered
