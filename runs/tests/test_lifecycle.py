"""Which status follows which, one statement at a time."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import IntegrityError
from django.db.models.functions import Now

from spool.database.ids import uuid7
from spool.database.loop import Loop
from spool.runs import lifecycle, recovery, services, tasks
from spool.runs.lifecycle import Claim, Outcome, Searched
from spool.runs.models import Run, Worker
from spool.threads.models import Thread
from spool.webhooks.models import WebhookDelivery

pytestmark = pytest.mark.django_db(transaction=True)

SUCCESS = Outcome(
    Run.Status.SUCCESS,
    state={"values": {"x": 1}, "interrupts": {}, "status": Thread.Status.IDLE},
)


@pytest.fixture
def claim(loop: Loop, worker: Worker) -> Callable[[Run], Claim | None]:
    return lambda run: loop.run(lifecycle.claim(loop.pool, run.id, worker.id))


def held(found: Claim | None) -> Claim:
    assert found is not None
    return found


def statuses() -> list[str]:
    return list(Run.objects.oldest_first().values_list("status", flat=True))


def status_of(thread: Thread) -> str:
    thread.refresh_from_db()
    return thread.status


def test_a_run_goes_from_pending_to_running_to_its_end(
    make_run: Callable[..., Run], thread: Thread, loop: Loop, claim: Any
) -> None:
    run = make_run()
    assert (run.status, status_of(thread)) == ("pending", "busy")

    claimed = held(claim(run))
    run.refresh_from_db()
    assert (run.status, run.attempt, status_of(thread)) == ("running", 1, "busy")

    ended = loop.run(lifecycle.end(loop.pool, claimed, SUCCESS))

    assert ended is not None
    run.refresh_from_db()
    assert (run.status, status_of(thread)) == ("success", "idle")
    assert thread.values == {"x": 1}
    assert run.started_at is not None
    assert run.ended_at is not None


def test_only_one_worker_claims_a_run(make_run: Any, claim: Any) -> None:
    run = make_run()

    assert claim(run) is not None
    assert claim(run) is None


def test_a_run_waits_for_those_that_came_before(make_run: Any, claim: Any) -> None:
    first, second = make_run(), make_run()

    assert claim(second) is None
    assert claim(first) is not None
    assert claim(second) is None
    assert second.dispatched_at is None


def test_the_end_of_a_run_gives_the_next_its_turn(
    make_run: Any, thread: Thread, loop: Loop, claim: Any
) -> None:
    first, second = make_run(), make_run()

    ended = loop.run(lifecycle.end(loop.pool, held(claim(first)), SUCCESS))

    assert ended is not None
    assert ended.next_run_id == second.id
    assert status_of(thread) == "busy"
    assert claim(second) is not None


def test_a_stale_attempt_can_write_nothing(
    make_run: Any, thread: Thread, loop: Loop, claim: Any
) -> None:
    run = make_run()
    stale = held(claim(run))
    loop.run(lifecycle.hand_back(loop.pool, stale))
    newer = held(claim(run))

    late = loop.run(lifecycle.end(loop.pool, stale, SUCCESS))
    handed_back = loop.run(lifecycle.hand_back(loop.pool, stale))

    assert (late, handed_back) == (None, False)
    assert newer.attempt == 2
    run.refresh_from_db()
    assert (run.status, status_of(thread)) == ("running", "busy")


def test_the_database_refuses_two_running_runs_of_a_thread(make_run: Any) -> None:
    make_run(), make_run()

    with pytest.raises(IntegrityError, match="one_running_run_per_thread"):
        Run.objects.update(status=Run.Status.RUNNING)


@pytest.mark.parametrize(
    ("status", "thread_status"), [("error", "error"), ("timeout", "error")]
)
def test_a_failed_run_shows_on_its_thread(
    make_run: Any,
    thread: Thread,
    loop: Loop,
    claim: Any,
    status: str,
    thread_status: str,
) -> None:
    error = {"error": "ValueError", "message": "boom"}
    outcome = Outcome(status, error)

    loop.run(lifecycle.end(loop.pool, held(claim(make_run())), outcome))

    assert status_of(thread) == thread_status
    assert thread.error == error


def test_a_run_that_is_rolled_back_was_never_there(
    make_run: Any, thread: Thread, loop: Loop, claim: Any
) -> None:
    run = make_run()

    loop.run(lifecycle.end(loop.pool, held(claim(run)), Outcome(None)))

    assert not Run.objects.exists()
    assert status_of(thread) == "idle"


def test_a_run_for_later_is_not_claimed_early(make_run: Any, claim: Any) -> None:
    run = make_run(after_seconds=60)

    assert claim(run) is None
    assert run.dispatched_at is None
    Run.objects.update(created_at=Now())
    assert lifecycle.make_ready(Searched())[0] == [run.id]
    assert claim(run) is not None


def test_a_run_for_later_does_not_delay_others(make_run: Any, claim: Any) -> None:
    later, now = make_run(after_seconds=60), make_run()

    assert now.dispatched_at is not None
    assert claim(now) is not None
    assert later.dispatched_at is None


def test_a_lost_message_is_noticed_after_a_while(make_run: Any, worker: Worker) -> None:
    run = make_run()
    assert lifecycle.missed(timeout=3, limit=10) == []

    Run.objects.update(dispatched_at=Now() - timedelta(seconds=4))

    assert recovery.runs_to_wake() == [run.id]
    # Not again a moment later.
    assert recovery.runs_to_wake() == []


def test_runs_of_a_silent_worker_go_on_elsewhere(
    make_run: Any, claim: Any, worker: Worker
) -> None:
    run = make_run()
    claim(run)
    assert recovery.recover_lost_runs() == []

    silence(worker)
    ended = recovery.recover_lost_runs()

    assert [one.next_run_id for one in ended] == [run.id]
    run.refresh_from_db()
    assert (run.status, run.losses, run.worker_id) == ("pending", 1, None)


def test_a_run_that_takes_too_many_workers_with_it_ends_as_an_error(
    make_run: Any, loop: Loop, thread: Thread
) -> None:
    first, second = make_run(), make_run()
    for pid in range(3):
        worker = Worker.objects.create(hostname="here", pid=pid, capacity=1)
        held(loop.run(lifecycle.claim(loop.pool, first.id, worker.id)))
        silence(worker)
        ended = recovery.recover_lost_runs()

    first.refresh_from_db()
    assert first.status == "error"
    assert first.error == {
        "error": "WorkerLost",
        "message": "The run was lost with its worker 3 times.",
    }
    # The next run of the thread can start.
    assert [one.next_run_id for one in ended] == [second.id]
    assert status_of(thread) == "busy"


def test_being_handed_over_is_no_loss(make_run: Any, loop: Loop, claim: Any) -> None:
    run = make_run()
    for _ in range(5):
        loop.run(lifecycle.hand_back(loop.pool, held(claim(run))))

    run.refresh_from_db()
    assert (run.status, run.attempt, run.losses) == ("pending", 5, 0)


def test_the_webhook_of_a_run_that_never_began_tells_the_threads_values(
    make_run: Any, thread: Thread, webhook_config: Any
) -> None:
    webhook_config(url={"require_https": False, "disable_loopback": False})
    Thread.objects.update(values={"x": 1})
    run = make_run(webhook="http://127.0.0.1:9/hook")

    services.cancel_run(run, "interrupt")

    payload = WebhookDelivery.objects.get().payload
    assert (payload["status"], payload["values"]) == ("interrupted", {"x": 1})


def test_workers_that_are_long_gone_are_forgotten(
    make_run: Any, worker: Worker
) -> None:
    run = make_run()
    Run.objects.update(status="success", worker=worker)
    gone = Worker.objects.create(
        hostname="here", pid=2, capacity=1, expired_at=Now() - timedelta(days=1)
    )
    Worker.objects.filter(pk=worker.pk).update(expired_at=Now() - timedelta(days=8))
    alive = Worker.objects.create(hostname="here", pid=3, capacity=1)

    tasks.sweep()

    assert set(Worker.objects.all()) == {gone, alive}
    # Its runs stay, and are shown without a worker.
    assert Run.objects.select_related("worker").get(pk=run.pk).worker is None


def test_a_living_worker_keeps_its_runs(make_run: Any, claim: Any) -> None:
    claim(make_run())

    assert recovery.recover_lost_runs() == []
    assert statuses() == ["running"]


def test_who_has_room_is_asked_to_take_a_run(make_run: Any, worker: Worker) -> None:
    make_run()
    Run.objects.update(dispatched_at=Now() - timedelta(seconds=10))
    Worker.objects.update(capacity=0)

    assert recovery.runs_to_wake() == []


def silence(worker: Worker) -> None:
    Worker.objects.filter(pk=worker.pk).update(
        heartbeat_at=Now() - timedelta(minutes=10)
    )


def test_a_run_of_a_thread_that_is_gone_is_not_created(make_run: Any) -> None:
    with pytest.raises(Exception, match="Thread or assistant not found"):
        make_run(thread_id=uuid7())


def test_a_worker_that_expires_during_recovery_costs_no_run(
    make_run: Any, loop: Loop, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run()
    loop.run(lifecycle.claim(loop.pool, run.id, worker.id))
    take_back = lifecycle.take_back

    def then_expires(**options: Any) -> Any:
        taken = take_back(**options)
        Worker.objects.update(expired_at=Now())  # By another tick, or by signing off.
        return taken

    monkeypatch.setattr(lifecycle, "take_back", then_expires)

    recovery.recover_lost_runs()

    run.refresh_from_db()
    assert run.status in ("running", "pending")


def test_an_expired_worker_claims_nothing(
    make_run: Any, loop: Loop, worker: Worker
) -> None:
    run = make_run()
    Worker.objects.update(expired_at=Now())

    assert loop.run(lifecycle.claim(loop.pool, run.id, worker.id)) is None


def test_a_run_that_is_claimed_while_it_is_deleted_goes(
    make_run: Any, loop: Loop, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run()
    end_here = lifecycle.end_here

    def claimed_first(*args: Any) -> Any:
        loop.run(lifecycle.claim(loop.pool, run.id, worker.id))
        return end_here(*args)

    monkeypatch.setattr(lifecycle, "end_here", claimed_first)

    services.delete_run(run)

    left = Run.objects.filter(pk=run.pk).first()
    assert left is None or left.cancel_action == "rollback"
