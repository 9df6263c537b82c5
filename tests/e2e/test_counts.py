"""What a streamed run costs in exact counts: none of them may grow unnoticed."""

from __future__ import annotations

import asyncio

import pytest

from spool.bench import counts

pytestmark = pytest.mark.e2e

RUNS = 20


def test_a_streamed_run_costs_no_more_than_it_did() -> None:
    found = asyncio.run(counts.of_streamed_runs(RUNS, at_once=1))

    assert found.transactions <= 10
    assert found.statements <= 13
    assert found.rows <= 15
    assert found.wal_bytes <= 18.5 * 1024
    # Events of a run that is slow may take one write more.
    assert found.redis_commands <= 10
