"""Lost runs are recovered despite concurrent changes to runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any

import pytest
from django.db import connection, transaction
from django.db.models.functions import Now

from spool.runs import recovery
from spool.runs.lifecycle import Ended
from spool.runs.models import Run, Worker
from spool.tests.live import WAIT_SECS
from spool.threads.models import Thread
from spool.threads.services import delete_threads

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def lose(worker: Worker) -> Callable[..., Run]:
    """Creates a run of a dead worker, on its own thread."""
    gone = Worker.objects.create(hostname="gone", pid=2, capacity=1, expired_at=Now())

    def lose(**fields: Any) -> Run:
        return Run.objects.create(
            thread=Thread.objects.create(status="busy"),
            assistant_id=gone.id,
            graph_id="echo",
            status="running",
            attempt=1,
            worker=gone,
            **fields,
        )

    return lose


@pytest.fixture
def tick() -> Iterator[Callable[[], list[Ended]]]:
    """Recovers lost runs in a separate transaction."""

    def recover() -> list[Ended]:
        try:
            return recovery.recover_lost_runs()
        finally:
            connection.close()

    with ThreadPoolExecutor(1) as pool:
        yield lambda: pool.submit(recover).result(timeout=WAIT_SECS)


def test_recovery_does_not_wait_for_deletions_of_threads(
    lose: Callable[..., Run], tick: Callable[[], list[Ended]]
) -> None:
    going, lost = lose(), lose()

    with transaction.atomic():
        delete_threads(Thread.objects.filter(pk=going.thread_id))
        found = tick()

    assert [one.next_run_id for one in found] == [lost.id]
    assert not Run.objects.filter(pk=going.pk).exists()


def test_a_run_that_goes_on_meanwhile_is_not_taken_from_its_new_worker(
    lose: Callable[..., Run], tick: Callable[[], list[Ended]], worker: Worker
) -> None:
    run = lose()

    with ThreadPoolExecutor(1) as pool:
        with transaction.atomic():
            Run.objects.filter(pk=run.pk).update(attempt=2, losses=1, worker=worker)
            recovering = pool.submit(tick)
            # Until it is done, or waits for this transaction.
            wait((recovering,), timeout=1)
        found = recovering.result()

    run.refresh_from_db()
    assert found == []
    assert (run.status, run.attempt, run.worker) == ("running", 2, worker)


def test_a_thread_that_is_held_holds_up_no_other_lost_run(
    lose: Callable[..., Run], tick: Callable[[], list[Ended]]
) -> None:
    runs = [lose(losses=2), lose(losses=2), lose()]

    def statuses() -> list[str]:
        for run in runs:
            run.refresh_from_db()
        return [run.status for run in runs]

    with transaction.atomic():
        Thread.objects.select_for_update().get(pk=runs[0].thread_id)
        found = tick()

    assert runs[2].id in [one.next_run_id for one in found]
    assert statuses() == ["running", "error", "pending"]
    tick()
    assert statuses() == ["error", "error", "pending"]
