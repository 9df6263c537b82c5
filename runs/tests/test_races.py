"""Concurrent operations on Postgres: threads that a barrier starts at once."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from django.db import transaction
from django.db.models.functions import Now

from spool.access.policy import EVERYTHING
from spool.assistants.services import register_system_assistants
from spool.assistants.tests.served import serving
from spool.database.loop import Loop
from spool.database.tests.locks import answer_behind, wait_until_blocked
from spool.database.tests.together import at_once, closing
from spool.runs import lifecycle, services
from spool.runs.lifecycle import Searched
from spool.runs.models import Run, Worker
from spool.runs.run_request import AllowedRun
from spool.runs.serializers import parse_run_request
from spool.runs.streaming import events
from spool.runs.tests.executing import CONFIG, forget_config
from spool.runs.worker.executor import Executor
from spool.tests.live import WAIT_SECS
from spool.threads.models import Thread
from spool.threads.services import delete_threads

pytestmark = pytest.mark.django_db(transaction=True)


def outcomes(jobs: list[Callable[[], Any]]) -> list[Any]:
    """The results of the jobs, or the exceptions that they raised."""

    def outcome(job: Callable[[], Any]) -> Any:
        try:
            return job()
        except Exception as exc:
            return exc

    return at_once([partial(outcome, job) for job in jobs])


def creator(thread: Thread, **body: Any) -> Callable[[], Run]:
    request = parse_run_request({"assistant_id": "echo", **body})
    return lambda: services.create_run(AllowedRun(request, EVERYTHING, thread.id))


@pytest.fixture(autouse=True)
def _no_messages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Send no messages, so that only the test executes these runs."""
    monkeypatch.setattr("spool.runs.tasks.send", lambda *args, **kwargs: None)


def test_exactly_one_of_twenty_rejecting_creates_passes(thread: Thread) -> None:
    found = outcomes([creator(thread, multitask_strategy="reject")] * 20)

    assert [type(one) for one in found].count(Run) == 1
    assert [type(one) for one in found].count(services.ThreadBusy) == 19
    assert Run.objects.count() == 1


def test_parallel_creates_of_one_thread_id_make_one_thread(db: None) -> None:
    thread = Thread()  # Not saved.
    found = at_once([creator(thread, if_not_exists="create")] * 10)

    assert [type(one) for one in found] == [Run] * 10
    assert Thread.objects.count() == 1


def test_one_of_many_claims_of_a_run_wins(
    thread: Thread, loop: Loop, worker: Worker
) -> None:
    run = creator(thread)()

    found = at_once(
        [lambda: loop.run(lifecycle.claim(loop.pool, run.id, worker.id))] * 10
    )

    assert sum(one is not None for one in found) == 1


def test_claims_of_runs_of_one_thread_let_one_through(
    thread: Thread, loop: Loop, worker: Worker
) -> None:
    runs = [creator(thread)() for _ in range(8)]

    def claim(run: Run) -> lifecycle.Claim | None:
        return loop.run(lifecycle.claim(loop.pool, run.id, worker.id))

    found = at_once([partial(claim, run) for run in runs])

    assert [one.id for one in found if one] == [runs[0].id]


def test_a_cancel_and_a_claim_leave_no_run_that_is_never_stopped(
    thread: Thread, loop: Loop, worker: Worker
) -> None:
    run = creator(thread)()

    claimed, cancelled = at_once(
        [
            lambda: loop.run(lifecycle.claim(loop.pool, run.id, worker.id)),
            lambda: services.cancel_run(run, "interrupt"),
        ]
    )

    run.refresh_from_db()
    assert cancelled is True
    assert (run.status, run.cancel_action) == (
        ("running", "interrupt") if claimed else ("interrupted", None)
    )


def test_two_cancels_at_once_end_a_run_once(thread: Thread) -> None:
    run = creator(thread)()

    found = at_once([lambda: services.cancel_run(run, "interrupt")] * 8)

    assert found.count(True) == 1
    thread.refresh_from_db()
    assert thread.status == "idle"


@pytest.fixture
def end(thread: Thread, loop: Loop, worker: Worker) -> Callable[[str | None], Any]:
    """Ends the running run of `thread`, while another one is pending behind it."""
    run, _ = creator(thread)(), creator(thread)()
    held = loop.run(lifecycle.claim(loop.pool, run.id, worker.id))
    assert held is not None
    return lambda status: loop.run(
        lifecycle.end(loop.pool, held, lifecycle.Outcome(status))
    )


def test_a_cancel_beside_the_end_of_a_run_changes_no_end(
    thread: Thread, end: Callable[[str | None], Any]
) -> None:
    run, queued = Run.objects.oldest_first()

    ended, _ = at_once(
        [lambda: end("success"), lambda: services.cancel_run(run, "interrupt")]
    )

    run.refresh_from_db()
    assert (run.status, ended.next_run_id) == ("success", queued.id)


def test_a_rollback_beside_the_end_of_a_run_comes_too_late_or_is_heeded(
    thread: Thread, end: Callable[[str | None], Any]
) -> None:
    run, queued = Run.objects.oldest_first()

    ended, is_heeded = at_once(
        [lambda: end("success"), lambda: services.cancel_run(run, "rollback")]
    )
    undone = end(None)

    assert is_heeded is (ended is None)
    assert [one.next_run_id for one in (ended, undone) if one] == [queued.id]
    assert Run.objects.filter(pk=run.pk).exists() is not is_heeded


def test_a_delete_and_a_claim_leave_no_run_and_a_free_thread(
    thread: Thread, loop: Loop, worker: Worker
) -> None:
    run, queued = creator(thread)(), creator(thread)()

    claimed, deleted = at_once(
        [
            lambda: loop.run(lifecycle.claim(loop.pool, run.id, worker.id)),
            lambda: services.delete_run(run),
        ]
    )

    assert deleted is None
    assert list(Run.objects.all()) == [queued]
    # The worker that has claimed it can't write any more.
    done = lifecycle.Outcome(Run.Status.SUCCESS)
    assert not (claimed and loop.run(lifecycle.end(loop.pool, claimed, done)))
    assert loop.run(lifecycle.claim(loop.pool, queued.id, worker.id)) is not None


def test_deletes_of_one_run_at_once_delete_it(thread: Thread) -> None:
    run = creator(thread)()

    found = at_once([lambda: services.delete_run(run)] * 8)

    assert found == [None] * 8
    assert not Run.objects.exists()
    thread.refresh_from_db()
    assert thread.status == "idle"


def test_a_rollback_beside_creates_takes_only_what_was_there(
    thread: Thread, loop: Loop, worker: Worker
) -> None:
    first = creator(thread)()
    held = loop.run(lifecycle.claim(loop.pool, first.id, worker.id))
    assert held is not None
    replacing = creator(thread, multitask_strategy="rollback")

    found = at_once([*[creator(thread)] * 4, replacing, *[creator(thread)] * 4])
    loop.run(lifecycle.end(loop.pool, held, lifecycle.Outcome(None)))

    assert [type(one) for one in found] == [Run] * 9
    # Runs that were queued before it are gone, later ones wait behind it.
    left = list(Run.objects.oldest_first())
    assert left[0] == found[4]
    assert {run.status for run in left} == {"pending"}
    assert [run.multitask_strategy for run in left[1:]] == ["enqueue"] * (len(left) - 1)
    claims = [loop.run(lifecycle.claim(loop.pool, run.id, worker.id)) for run in left]
    assert [claim is not None for claim in claims] == [True, *[False] * (len(left) - 1)]


@pytest.mark.parametrize("strategy", ["interrupt", "rollback"])
def test_of_many_replacing_runs_one_is_left(thread: Thread, strategy: str) -> None:
    creator(thread)()

    found = at_once([creator(thread, multitask_strategy=strategy)] * 10)

    assert [type(one) for one in found] == [Run] * 10
    assert Run.objects.active().count() == 1
    kept = Run.objects.count()
    assert kept == (1 if strategy == "rollback" else 11)


def test_a_thread_deleted_beside_creates_stays_deleted(thread: Thread) -> None:
    threads = Thread.objects.filter(pk=thread.id)

    found = outcomes(
        [
            *[creator(thread)] * 6,
            lambda: delete_threads(threads),
            *[creator(thread)] * 6,
        ]
    )

    assert found[6] == 1
    assert {type(one) for one in found} <= {Run, services.ThreadNotFound, int}
    assert not Thread.objects.exists()
    assert not Run.objects.exists()


@pytest.mark.parametrize("strategy", ["enqueue", "interrupt"])
def test_a_thread_that_a_sweep_deletes_is_made_anew(
    thread: Thread, strategy: str
) -> None:
    Thread.objects.update(expires_at=Now(), metadata={"old": True})
    create = creator(thread, if_not_exists="create", multitask_strategy=strategy)
    this = Thread.objects.filter(pk=thread.pk)

    made = answer_behind(lambda: delete_threads(this), create)

    assert made.thread_id == thread.pk
    assert "old" not in Thread.objects.get().metadata


@pytest.mark.parametrize("strategy", ["enqueue", "interrupt"])
def test_a_run_waits_for_a_sweep_that_holds_its_thread(
    thread: Thread, strategy: str
) -> None:
    create = creator(thread, if_not_exists="create", multitask_strategy=strategy)

    with ThreadPoolExecutor(1) as pool:
        with transaction.atomic():
            Thread.objects.select_for_update().get(pk=thread.pk)
            run = pool.submit(closing(create))
            wait_until_blocked()
            delete_threads(Thread.objects.filter(pk=thread.pk))
        made = run.result(timeout=WAIT_SECS)

    assert made.thread_id == thread.pk
    assert Thread.objects.get().status == "busy"


def test_a_storm_of_creates_and_cancels_ends_every_run_in_order(
    storm: Storm, tmp_path: Path
) -> None:
    chance = random.Random(7)  # noqa: S311 - the same storm each time
    threads = [Thread.objects.create() for _ in range(10)]
    drops = [
        partial(
            make_and_stop,
            creator(
                chance.choice(threads),
                assistant_id="alone",
                input={"folder": str(tmp_path)},
                multitask_strategy=chance.choice(
                    ["enqueue", "enqueue", "interrupt", "rollback"]
                ),
            ),
            chance.choice([None, None, "interrupt", "rollback"]),
        )
        for _ in range(200)
    ]

    with ThreadPoolExecutor(16) as pool:
        workers = [pool.submit(closing(storm.execute_until_calm)) for _ in range(4)]
        made = [pool.submit(closing(drop)) for drop in drops]
        rolled_back = [run_id for one in made if (run_id := one.result())]
        storm.is_over.set()
        for done in workers:
            done.result()

    assert not Run.objects.active().exists()
    resting = set(Thread.objects.values_list("status", flat=True))
    assert resting <= {"idle", "interrupted"}
    assert rolled_back
    assert not Run.objects.filter(pk__in=rolled_back).exists()
    for thread in threads:
        finished = Run.objects.filter(thread=thread, status="success")
        created = finished.oldest_first().values_list("pk", flat=True)
        started = finished.order_by("started_at").values_list("pk", flat=True)
        assert list(created) == list(started)
    for notes in tmp_path.iterdir():  # One file per thread.
        noted = notes.read_text().split()
        assert noted == ["begins", "ends"] * (len(noted) // 2)


def make_and_stop(make: Callable[[], Run], action: str | None) -> UUID | None:
    """Create a run, and perhaps stop it. Returns its id if it was rolled back."""
    run = make()
    stopped = action is not None and services.cancel_run(run, action)
    return run.pk if stopped and action == "rollback" else None


class Storm:
    """Workers that execute any run that can be claimed."""

    def __init__(self, loop: Loop, worker: Worker) -> None:
        self.loop = loop
        self.executor = loop.run(self._new_executor(worker))
        self.is_over = threading.Event()

    async def _new_executor(self, worker: Worker) -> Executor:
        return Executor(self.loop.pool, events.new_async_redis(), lambda: worker.id)

    def stop(self, run_id: UUID, action: str) -> None:
        """Do what a worker does on a signal to stop a run."""
        if execution := self.executor.held_runs.executions.get(run_id):
            execution.stop(action)

    def execute_until_calm(self) -> None:
        while not (self.is_over.is_set() and not Run.objects.active().exists()):
            self.loop.run(self.executor.execute_all())
            ready, _ = lifecycle.make_ready(Searched())
            for run_id in [*ready, *lifecycle.missed(timeout=0, limit=10)]:
                self.loop.run(self.executor.execute_all(run_id))


@pytest.fixture
def storm(
    loop: Loop, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Storm]:
    with serving(CONFIG, forget_config):
        register_system_assistants()
        storm = Storm(loop, worker)
        monkeypatch.setattr("spool.runs.streaming.events.signal_stop", storm.stop)
        yield storm
        loop.run(storm.executor.redis.aclose())
