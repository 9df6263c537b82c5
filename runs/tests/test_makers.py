"""Whatever a graph's factory does, its run comes to an end."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from django.conf import LazySettings

from assistants.services import register_system_assistants
from config.loop import Loop
from runs.execution import HAND_BACK
from runs.models import Run, Worker
from runs.tests.oddities import Executing, served
from tests.live import wait_until
from threads.models import Thread

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(scope="module", autouse=True)
def _makers(graphs: Path) -> Iterator[None]:
    with served(graphs.parent, "makers.py", "never", "gives_up", "stays"):
        yield


@pytest.fixture
def here(loop: Loop, worker: Worker, tmp_path: Path) -> Iterator[Executing]:
    register_system_assistants()
    here = Executing(loop, worker, tmp_path)
    yield here
    here.close()


@pytest.mark.parametrize(
    ("reason", "status", "resting"),
    [("interrupt", "interrupted", "idle"), (HAND_BACK, "pending", "busy")],
)
def test_a_run_is_stopped_while_its_graph_is_made(
    reason: str,
    status: str,
    resting: str,
    here: Executing,
    thread: Thread,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("runs.executor.CANCEL_PATIENCE", 0.05)
    run, done = here.start("never", thread)
    wait_until(here.begun.exists, 20)

    here.executor.stop(run.id, reason)
    done.result(timeout=20)

    run.refresh_from_db()
    thread.refresh_from_db()
    assert (run.status, thread.status) == (status, resting)


def test_a_run_is_rolled_back_while_its_graph_is_made(
    here: Executing, thread: Thread, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runs.executor.CANCEL_PATIENCE", 0.05)
    run, done = here.start("never", thread)
    wait_until(here.begun.exists, 20)

    here.executor.stop(run.id, "rollback")
    done.result(timeout=20)

    thread.refresh_from_db()
    assert thread.status == "idle"
    assert not Run.objects.exists()


def test_a_graph_that_is_never_made_takes_too_long(
    here: Executing, thread: Thread, settings: LazySettings
) -> None:
    settings.BG_JOB_TIMEOUT_SECS = 0.2

    run = here.execute("never", thread)

    assert run.status == "timeout"
    assert run.error == {"error": "TimeoutError", "message": ""}


def test_a_factory_that_is_cancelled_from_within_fails_its_run(
    here: Executing, thread: Thread
) -> None:
    run = here.execute("gives_up", thread)

    assert run.status == "error"
    assert run.error == {"error": "CancelledError", "message": "the client's own"}


def test_a_factory_that_never_says_goodbye_keeps_no_run_from_its_end(
    here: Executing, thread: Thread, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("assistants.graphs.PATIENCE_SECS", 0.1)

    assert here.execute("stays", thread).status == "success"
