"""A state that can't be kept is the run's own fault: it ends, and is not tried again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from assistants.services import register_system_assistants
from config.loop import Loop
from runs.models import Worker
from runs.tests.oddities import Executing, served, told
from threads.models import Thread

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(scope="module", autouse=True)
def _refused(graphs: Path) -> Iterator[None]:
    with served(graphs.parent, "refused.py", "named", "knot"):
        yield


@pytest.fixture
def here(loop: Loop, worker: Worker, tmp_path: Path) -> Iterator[Executing]:
    register_system_assistants()
    here = Executing(loop, worker, tmp_path)
    yield here
    here.close()


def test_a_save_that_postgres_has_no_room_for_fails_the_run(
    here: Executing, thread: Thread
) -> None:
    run = here.execute("named", thread)

    assert run.status == "error"
    assert run.error["error"] == "ProgramLimitExceeded"
    # Once: a save that is tried again is tried after the node that it comes from.
    assert here.begun.read_text().split() == ["inner"]


def test_an_end_that_can_not_be_written_is_an_error(here: Executing) -> None:
    run = here.execute("knot", None)

    assert (run.status, run.error["error"]) == ("error", "TooDeep")
    names = [event.name for event in told(run.thread_id)]
    assert names == ["metadata", "values", "error", "end"]
