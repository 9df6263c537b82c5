"""Runs end even if their graph's factory hangs or fails."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from django.conf import LazySettings

from spool.runs.models import Run
from spool.runs.tests.oddities import Executing, served
from spool.runs.worker.execution import HAND_BACK
from spool.tests.live import WAIT_SECS, wait_until
from spool.threads.models import Thread

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(scope="module", autouse=True)
def _makers(graphs: Path) -> Iterator[None]:
    with served(graphs.parent, "makers.py", "never", "gives_up", "stays"):
        yield


@pytest.mark.parametrize(
    ("reason", "status", "resting"),
    [("interrupt", "interrupted", "idle"), (HAND_BACK, "pending", "busy")],
)
def test_a_run_is_stopped_while_its_graph_is_made(
    reason: str,
    status: str,
    resting: str,
    oddly: Executing,
    thread: Thread,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("spool.runs.worker.executor.CANCEL_TIMEOUT_SECS", 0.05)
    run, done = oddly.start("never", thread)
    wait_until(oddly.begun.exists)

    oddly.executor.stop(run.id, reason)
    done.result(timeout=WAIT_SECS)

    run.refresh_from_db()
    thread.refresh_from_db()
    assert (run.status, thread.status) == (status, resting)


def test_a_run_is_rolled_back_while_its_graph_is_made(
    oddly: Executing, thread: Thread, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("spool.runs.worker.executor.CANCEL_TIMEOUT_SECS", 0.05)
    run, done = oddly.start("never", thread)
    wait_until(oddly.begun.exists)

    oddly.executor.stop(run.id, "rollback")
    done.result(timeout=WAIT_SECS)

    thread.refresh_from_db()
    assert thread.status == "idle"
    assert not Run.objects.exists()


def test_a_graph_that_is_never_made_takes_too_long(
    oddly: Executing, thread: Thread, settings: LazySettings
) -> None:
    settings.BG_JOB_TIMEOUT_SECS = 0.2

    run = oddly.execute("never", thread)

    assert run.status == "timeout"
    assert run.error == {"error": "TimeoutError", "message": ""}


def test_a_factory_that_is_cancelled_from_within_fails_its_run(
    oddly: Executing, thread: Thread
) -> None:
    run = oddly.execute("gives_up", thread)

    assert run.status == "error"
    assert run.error == {"error": "CancelledError", "message": "the client's own"}


def test_a_factory_that_never_says_goodbye_keeps_no_run_from_its_end(
    oddly: Executing, thread: Thread, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("spool.assistants.graphs.BUILD_TIMEOUT_SECS", 0.1)

    assert oddly.execute("stays", thread).status == "success"
