"""Beat, a worker and Postgres: expired rows are deleted by the sweeps."""

from __future__ import annotations

import json
from collections.abc import Iterator

import psycopg
import pytest
from langgraph_sdk import get_sync_client

from spool.tests.conftest import CONFIG
from spool.tests.live import Server, serving, wait_until

pytestmark = pytest.mark.e2e

TTL = {"default_ttl": 60, "sweep_interval_minutes": 0.02}
# Temporary threads have both times; each thread here has one way to be removed.
AN_HOUR_LATER = """
UPDATE threads SET discarded_at = discarded_at - interval '1 hour',
    expires_at = CASE WHEN discarded_at IS NULL
        THEN expires_at - interval '1 hour' ELSE expires_at END
"""
LEFT = """
SELECT (SELECT count(*) FROM threads) + (SELECT count(*) FROM runs)
    + (SELECT count(*) FROM checkpoints) + (SELECT count(*) FROM checkpoint_blobs)
    + (SELECT count(*) FROM checkpoint_writes)
"""


@pytest.fixture
def server() -> Iterator[Server]:
    checkpointer = json.dumps({"ttl": TTL})
    with serving(CONFIG, LANGGRAPH_CHECKPOINTER=checkpointer) as server:
        yield server


def test_nothing_is_left_of_old_threads(server: Server) -> None:
    with (
        get_sync_client(url=server.url) as client,
        psycopg.connect(
            server.environment()["DATABASE_URL"], autocommit=True
        ) as database,
    ):
        thread_id = client.threads.create()["thread_id"]
        client.runs.wait(thread_id, "human", input={"topic": "t"})
        client.runs.wait(None, "echo", input={"messages": []})
        first = database.execute(LEFT).fetchone()
        assert first is not None
        assert first[0] > 5
        database.execute(AN_HOUR_LATER)

        wait_until(lambda: database.execute(LEFT).fetchone() == (0,))

        swept = database.execute("SELECT kind, total FROM swept_threads").fetchall()
        assert sorted(swept) == [("discarded", 1), ("expired", 1)]
        log = server.home / "logs" / "worker.log"
        wait_until(lambda: "swept threads: 1 expired" in log.read_text())
