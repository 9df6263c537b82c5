"""Workers that are killed while they end a run and claim the next one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from spool.tests.company import ENVIRONMENT, STEPS, Company, begun, has_begun, hold
from spool.tests.conftest import CONFIG
from spool.tests.live import Server, serving, wait_until

pytestmark = pytest.mark.e2e

# Finds an end of a run that waits for a lock, such as that of its thread's row.
WAITS = """
SELECT pid FROM pg_stat_activity
WHERE query LIKE '%%spool_end_1%%' AND wait_event_type = 'Lock'
"""

OUTCOMES = "SELECT outcome FROM run_attempts WHERE run_id = %s ORDER BY attempt"


@pytest.fixture(scope="module")
def workerless() -> Iterator[Server]:
    with serving(CONFIG, 0, **ENVIRONMENT) as server:
        yield server


@pytest.fixture
def company(workerless: Server) -> Iterator[Company]:
    company = Company(workerless)
    yield company
    company.dismiss()


@pytest.mark.parametrize("is_committed", [True, False], ids=["committed", "undone"])
def test_a_worker_that_is_killed_at_an_end_loses_neither_run(
    company: Company, file: Path, is_committed: bool
) -> None:
    """Postgres finishes a statement whose client has died, or undoes all of it."""
    [worker] = company.hire(N_JOBS_PER_WORKER="1")
    let_go = hold(file, "5")
    first = company.steps(file, delay=0.3)  # Each step is saved before the next begins.
    wait_until(lambda: has_begun(file, "5"))
    url = company.server.environment()["DATABASE_URL"]
    with psycopg.connect(url) as lock:
        lock.execute("SELECT FROM threads WHERE id = %s FOR UPDATE", [first.thread_id])
        second = company.steps(file.with_name("second"))
        let_go()
        wait_until(lambda: company.rows(WAITS))

        worker.kill()
        if not is_committed:
            [(backend,)] = company.rows(WAITS)
            company.rows("SELECT pg_terminate_backend(%s, 5000)", backend)
    company.hire()

    assert (first.ended(), second.ended()) == ("success", "success")
    assert first.log() == second.log() == STEPS
    # Either the end and the claim of the second run were both stored, or neither.
    attempts = {(1, 0), (2, 1)}
    assert {company.attempts(first), company.attempts(second)} == attempts
    assert company.attempts(first) == ((1, 0) if is_committed else (2, 1))
    # Only the last step, whose result is stored with the end, may be repeated.
    taken = Counter(words[0] for words in begun(file))
    assert taken == Counter("12345" if is_committed else "123455")
    ends = company.rows(OUTCOMES, first.id)
    assert ends == ([("success",)] if is_committed else [("lost",), ("success",)])
