"""A run whose state can't be stored ends with an error, and is not retried."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from spool.runs.tests.executing import told
from spool.runs.tests.oddities import Executing, served
from spool.threads.models import Thread

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(scope="module", autouse=True)
def _refused(graphs: Path) -> Iterator[None]:
    with served(graphs.parent, "refused.py", "named", "knot"):
        yield


def test_a_save_that_postgres_has_no_room_for_fails_the_run(
    oddly: Executing, thread: Thread
) -> None:
    run = oddly.execute("named", thread)

    assert run.status == "error"
    assert run.error["error"] == "ProgramLimitExceeded"
    # Once: retrying the save would execute the node again.
    assert oddly.begun.read_text().split() == ["inner"]


def test_an_end_that_can_not_be_written_is_an_error(oddly: Executing) -> None:
    run = oddly.execute("knot", None)

    assert (run.status, run.error["error"]) == ("error", "TooDeep")
    names = [event.name for event in told(run.thread_id)]
    assert names == ["metadata", "values", "error", "end"]
