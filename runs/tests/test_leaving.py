"""A worker that is stopped while it claims a run or sends webhooks."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait

import pytest
from django.db.models.functions import Now

from spool.database.ids import uuid7
from spool.runs import tasks
from spool.runs.models import Worker
from spool.runs.worker import worker as worker_module
from spool.tests.live import WAIT_SECS
from spool.webhooks.models import WebhookDelivery

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def me(monkeypatch: pytest.MonkeyPatch) -> worker_module.Worker:
    """A worker without its heartbeat, whose connection would outlive the test."""
    me = worker_module.Worker()
    Worker.objects.create(id=me.id, hostname="here", pid=1, capacity=1)
    monkeypatch.setattr(worker_module, "current", lambda: me)
    return me


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor() as pool:
        yield pool


def test_a_worker_waits_for_who_is_about_to_claim_a_run(
    me: worker_module.Worker, pool: ThreadPoolExecutor
) -> None:
    assert me.take_slot(uuid7())

    stopping = pool.submit(me.stop, 20)
    wait((stopping,), timeout=0.3)
    has_stopped = stopping.done()
    me.free_slot()
    stopping.result(timeout=WAIT_SECS)

    assert not has_stopped


def test_a_worker_that_stops_leaves_webhooks_to_others(
    me: worker_module.Worker,
) -> None:
    delivery = WebhookDelivery.objects.create(
        run_id=uuid7(),
        thread_id=uuid7(),
        url="http://127.0.0.1:1/",
        payload={},
        next_attempt_at=Now(),
    )
    me.stop(0)

    tasks.deliver_webhooks()

    delivery.refresh_from_db()
    assert delivery.attempts == 0
