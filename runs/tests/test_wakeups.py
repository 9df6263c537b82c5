"""The messages that wake a worker reach it without Celery's threads."""

from types import SimpleNamespace
from typing import Any
from uuid import UUID

import orjson
import pytest
from celery.exceptions import InvalidTaskError

from spool.config.celery import app
from spool.database.ids import uuid7
from spool.runs import tasks, wakeups

RUN = uuid7()
CONSUMER: Any = SimpleNamespace(connection_errors=())


class Taking:
    """The strategy of a task, with a record of what it did."""

    def __init__(self) -> None:
        self.woken: list[tuple[UUID, int]] = []
        self.acks = 0
        strategy = wakeups.strategy(lambda run_id, hops: self.wake(run_id, hops))
        self._take = strategy.__func__(tasks.execute_run, app, CONSUMER)

    def wake(self, run_id: UUID, hops: int) -> None:
        self.woken.append((run_id, hops))

    def take(self, content: Any, body: Any = None) -> None:
        message = SimpleNamespace(body=orjson.dumps(content))
        self._take(message, body, self._ack, None, [])

    def _ack(self, *_: Any) -> None:
        self.acks += 1


@pytest.mark.parametrize(
    ("content", "body", "hops"),
    [
        ([[], {"run_id": str(RUN)}, {}], None, 0),
        ([[], {"run_id": str(RUN), "hops": 3}, {}], None, 3),
        (None, {"args": [], "kwargs": {"run_id": str(RUN)}}, 0),
    ],
)
def test_the_run_of_a_message_is_taken(content: Any, body: Any, hops: int) -> None:
    taking = Taking()

    taking.take(content, body)

    assert (taking.woken, taking.acks) == ([(RUN, hops)], 1)


@pytest.mark.parametrize("content", [None, [], [[], {}, {}], [[], {"run_id": "x"}, {}]])
def test_a_message_that_names_no_run_is_refused(content: Any) -> None:
    with pytest.raises(InvalidTaskError):
        Taking().take(content)


def test_a_run_that_can_not_be_taken_does_not_end_the_consumer(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    taking = Taking()
    monkeypatch.setattr(taking, "wake", lambda *_: 1 / 0)

    taking.take([[], {"run_id": str(RUN)}, {}])

    assert "could not be taken" in caplog.text


def test_threads_with_loops_of_their_own_wait_for_their_runs(settings: Any) -> None:
    settings.BG_JOB_ISOLATED_LOOPS = True
    controller: Any = app.WorkController(app=app)

    strategy = tasks.execute_run.start_strategy(app, controller.consumer)

    assert strategy.__module__ == "celery.worker.strategy"
