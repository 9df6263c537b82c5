"""A run is deleted while workers claim it and hand it back."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait

import pytest

from spool.database.loop import Loop
from spool.runs import lifecycle, services
from spool.runs.lifecycle import Claim, Ended, Outcome
from spool.runs.models import Run, Worker
from spool.threads.models import Thread

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_run_that_goes_to_and_fro_is_deleted_all_the_same(
    make_run: Callable[..., Run],
    thread: Thread,
    loop: Loop,
    worker: Worker,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = make_run()
    claims: list[Future[Claim | None]] = []

    def to_and_fro() -> None:
        """Let a worker claim the run; on the next call, hand it back."""
        if claims and (held := claims[0].result()):
            loop.run(lifecycle.hand_back(loop.pool, held))
            return
        claim = lifecycle.claim(loop.pool, run.id, worker.id)
        claims.append(pool.submit(loop.run, claim))
        # Wait until it has claimed the run, or waits for this transaction.
        wait(claims, timeout=1)

    end_here = lifecycle.end_here

    def end_meanwhile(run: Run, outcome: Outcome) -> Ended | None:
        to_and_fro()
        return end_here(run, outcome)

    monkeypatch.setattr("spool.runs.lifecycle.end_here", end_meanwhile)
    with ThreadPoolExecutor(1) as pool:
        services.delete_run(run)

    assert not Run.objects.exists()
    thread.refresh_from_db()
    assert thread.status == "idle"
