"""Whatever a graph's factory does, its run comes to an end."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest
from django.conf import LazySettings

from access.policy import EVERYTHING
from assistants.services import register_system_assistants
from config.loop import Loop
from runs import events, services
from runs.executor import HAND_BACK, Executor
from runs.lifecycle import Ended
from runs.models import Run, Worker
from runs.serializers import RunRequest
from runs.tests.conftest import forget_config
from runs.tests.test_executor import wait_for
from threads.models import Thread

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(scope="module", autouse=True)
def _makers(graphs: Path) -> Iterator[None]:
    config = graphs.with_name("makers.json")
    file = Path(__file__).with_name("makers.py")
    names = ("never", "gives_up", "stays")
    config.write_text(json.dumps({"graphs": {n: f"{file}:{n}" for n in names}}))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("django.conf.settings.LANGGRAPH_CONFIG", config)
        forget_config()
        yield
    forget_config()


@pytest.fixture
def executor(loop: Loop, worker: Worker) -> Iterator[Executor]:
    async def new() -> Executor:
        return Executor(loop.pool, events.new_async_redis(), lambda: worker.id)

    register_system_assistants()
    executor = loop.run(new())
    yield executor
    loop.run(executor.redis.aclose())


@pytest.fixture
def start(
    executor: Executor, loop: Loop, thread: Thread, tmp_path: Path
) -> Iterator[Callable[..., tuple[Run, Future[Ended | None]]]]:
    """Makes a run, and executes it beside the test."""

    def start(graph: str) -> tuple[Run, Future[Ended | None]]:
        config = {"configurable": {"folder": str(tmp_path)}}
        body = {"assistant_id": graph, "input": {}, "config": config}
        request = RunRequest(data=body)
        request.is_valid(raise_exception=True)
        asked = dict(request.validated_data)
        run = services.create_run(scope=EVERYTHING, thread_id=thread.id, request=asked)
        return run, pool.submit(lambda: loop.run(executor.execute(run.id)))

    with ThreadPoolExecutor() as pool:
        yield start


Start = Callable[..., tuple[Run, Future[Ended | None]]]


@pytest.mark.parametrize(
    ("reason", "status", "resting"),
    [("interrupt", "interrupted", "idle"), (HAND_BACK, "pending", "busy")],
)
def test_a_run_is_stopped_while_its_graph_is_made(
    reason: str,
    status: str,
    resting: str,
    executor: Executor,
    start: Start,
    thread: Thread,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("runs.executor.CANCEL_PATIENCE", 0.05)
    run, done = start("never")
    wait_for((tmp_path / "begun").exists)

    executor.stop(run.id, reason)
    done.result(timeout=20)

    run.refresh_from_db()
    thread.refresh_from_db()
    assert (run.status, thread.status) == (status, resting)


def test_a_run_is_rolled_back_while_its_graph_is_made(
    executor: Executor,
    start: Start,
    thread: Thread,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("runs.executor.CANCEL_PATIENCE", 0.05)
    run, done = start("never")
    wait_for((tmp_path / "begun").exists)

    executor.stop(run.id, "rollback")
    done.result(timeout=20)

    thread.refresh_from_db()
    assert thread.status == "idle"
    assert not Run.objects.exists()


def test_a_graph_that_is_never_made_takes_too_long(
    start: Start, settings: LazySettings
) -> None:
    settings.BG_JOB_TIMEOUT_SECS = 0.2

    run, done = start("never")
    done.result(timeout=20)

    run.refresh_from_db()
    assert (run.status, run.error) == (
        "timeout",
        {"error": "TimeoutError", "message": ""},
    )


def test_a_factory_that_is_cancelled_from_within_fails_its_run(start: Start) -> None:
    run, done = start("gives_up")
    done.result(timeout=20)

    run.refresh_from_db()
    assert run.status == "error"
    assert run.error == {"error": "CancelledError", "message": "the client's own"}


def test_a_factory_that_never_says_goodbye_keeps_no_run_from_its_end(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("assistants.graphs.PATIENCE_SECS", 0.1)

    run, done = start("stays")
    done.result(timeout=20)

    run.refresh_from_db()
    assert run.status == "success"
