"""The cost of a streamed run in exact counts, none of which may grow unnoticed."""

from __future__ import annotations

import asyncio

import pytest

from spool.bench import counts

pytestmark = pytest.mark.e2e

RUNS = 20


def test_a_streamed_run_costs_no_more_than_it_did() -> None:
    found = asyncio.run(counts.of_streamed_runs(RUNS, at_once=1))

    # A slow run may have one more save, and one more write of events.
    assert found.transactions <= 4.5
    assert found.statements <= 4.5
    assert found.rows <= 19
    assert found.wal_bytes <= 17.5 * 1024
    assert found.redis_commands <= 5
