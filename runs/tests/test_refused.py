"""A state that can't be kept is the run's own fault: it ends, and is not tried again."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from access.policy import EVERYTHING
from assistants.services import register_system_assistants
from config.loop import Loop
from runs import events, services
from runs.executor import Executor
from runs.lifecycle import Ended
from runs.models import Run, Worker
from runs.serializers import RunRequest
from runs.tests.conftest import forget_config
from runs.tests.test_executor import published
from threads.models import Thread

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(scope="module", autouse=True)
def _graphs_of_ours(graphs: Path) -> Iterator[None]:
    config = graphs.with_name("refused.json")
    file = Path(__file__).with_name("refused.py")
    config.write_text(
        json.dumps({"graphs": {n: f"{file}:{n}" for n in ("named", "knot")}})
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("django.conf.settings.LANGGRAPH_CONFIG", config)
        forget_config()
        yield
    forget_config()


@pytest.fixture
def execute(
    loop: Loop, worker: Worker, tmp_path: Path
) -> Iterator[Callable[..., tuple[Run, Ended | None]]]:
    async def new() -> Executor:
        return Executor(loop.pool, events.new_async_redis(), lambda: worker.id)

    register_system_assistants()
    executor = loop.run(new())

    def execute(graph: str, thread: Thread | None) -> tuple[Run, Ended | None]:
        config = {"configurable": {"folder": str(tmp_path)}}
        body = {"assistant_id": graph, "input": {"text": ""}, "config": config}
        request = RunRequest(data=body)
        request.is_valid(raise_exception=True)
        run = services.create_run(
            scope=EVERYTHING,
            thread_id=thread.id if thread else None,
            request=dict(request.validated_data),
        )
        ended = loop.run(executor.execute(run.id))
        run.refresh_from_db()
        return run, ended

    yield execute
    loop.run(executor.redis.aclose())


def test_a_save_that_postgres_has_no_room_for_fails_the_run(
    execute: Callable[..., tuple[Run, Ended | None]], thread: Thread, tmp_path: Path
) -> None:
    run, _ = execute("named", thread)

    assert run.status == "error"
    assert run.error["error"] == "ProgramLimitExceeded"


def test_an_end_that_can_not_be_written_is_an_error(
    execute: Callable[..., tuple[Run, Ended | None]],
) -> None:
    run, ended = execute("knot", None)

    assert ended is not None
    assert (run.status, run.error["error"]) == ("error", "TooDeep")
    assert [name for name, _ in published(run.thread_id)] == [
        "metadata",
        "values",
        "error",
        "end",
    ]
