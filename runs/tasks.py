"""Celery tasks for runs. A message only wakes a worker: the state is in Postgres."""

from __future__ import annotations

import logging
import os
import threading
import time
from typing import Any
from uuid import UUID

from celery import Task, shared_task
from celery.signals import (
    task_postrun,
    task_prerun,
    worker_ready,
    worker_shutdown,
    worker_shutting_down,
)
from django.conf import settings
from kombu.exceptions import KombuError
from redis.exceptions import RedisError

from spool.assistants.graphs import registry
from spool.database import task_connections
from spool.database.redis import RedisHangs, circuit_breaker
from spool.runs import counting, messages, record, recovery, wakeups
from spool.runs.budget_stops import stop_over_budget
from spool.runs.lifecycle import Ended
from spool.runs.worker import worker
from spool.telemetry import traces
from spool.usage.services import merge_counters
from spool.webhooks import deliveries

logger = logging.getLogger(__name__)

# How often full workers forward a message for a run, before it is left to the tick.
MAX_HOPS = 5
# Concurrent ticks in one process. While Postgres is slow, later ticks must leave
# threads free for runs.
TICKS = threading.Semaphore(3)
# How long an exiting process waits for its threads to end, in seconds.
EXIT_TIMEOUT_SECS = 4.0


def wake(run_id: UUID, hops: int = 0) -> None:
    """Start executing a run, and then other waiting runs until there are none.

    Does not block. Without a free slot the message is dropped: the worker claims the
    next run from Postgres when a run ends. If another worker has a free slot, the
    message is forwarded instead.
    """
    me = worker.current()
    if not me.execute_soon(run_id, announce) and _is_wanted_elsewhere(me, hops):
        # Not by the thread that receives messages: Redis may hang.
        me.later(send, execute_run, run_id=str(run_id), hops=hops + 1)


class Wakes(Task[Any, Any]):
    """A task whose messages are taken by `wake`."""

    Strategy = wakeups.strategy(wake)


@shared_task(name="runs.tasks.execute_run", base=Wakes)
def execute_run(*, run_id: str, hops: int = 0) -> None:
    """As `wake`, but block: each thread has its own loop (`BG_JOB_ISOLATED_LOOPS`)."""
    me = worker.current()
    if not me.execute_all(UUID(run_id), announce) and _is_wanted_elsewhere(me, hops):
        send(execute_run, run_id=run_id, hops=hops + 1)


def _is_wanted_elsewhere(me: worker.Worker, hops: int) -> bool:
    return (me.is_stopping or me.others_have_room) and hops < MAX_HOPS


@shared_task(name="runs.tasks.tick")
def tick() -> None:
    """Recover lost runs, and wake workers for runs whose messages were lost.

    Beat sends this task every second.
    """
    if not TICKS.acquire(blocking=False):
        return
    try:
        can_tell = worker.current().contact.is_lasting
        for ended in recovery.recover_lost_runs(can_tell=can_tell):
            announce(ended)
        for ended in stop_over_budget():
            announce(ended)
        for run_id in recovery.runs_to_wake():
            dispatch(run_id)
        if deliveries.any_due():
            send(deliver_webhooks)
        counting.count()
    finally:
        TICKS.release()


@shared_task(name="runs.tasks.deliver_webhooks")
def deliver_webhooks() -> None:
    me = worker.current()
    deliveries.deliver_due(may_go_on=lambda: not me.is_stopping)


@shared_task(name="runs.tasks.sweep")
def sweep() -> None:
    deliveries.sweep_deliveries()
    recovery.sweep_workers()
    while record.sweep():
        pass
    counting.sweep()
    merge_counters()


def announce(ended: Ended, taken: UUID | None = None) -> None:
    """Send messages after the end of a run, except for `taken`.

    `taken` is the run that this worker already executes next.
    """
    if ended.next_run_id and ended.next_run_id != taken:
        dispatch(ended.next_run_id)
    if ended.delivery_id:
        send(deliver_webhooks)


def dispatch(run_id: UUID) -> None:
    """Wake a worker for a run."""
    send(execute_run, run_id=str(run_id))


def send(task: Task[Any, Any], **kwargs: str | int) -> None:
    """Send a message. If that fails, the tick finds what the message was for."""
    is_new_run = task.name == execute_run.name and "hops" not in kwargs
    try:
        with circuit_breaker():
            if is_new_run and messages.can_push():
                messages.push(task, str(kwargs["run_id"]))
            else:
                task.apply_async(kwargs=kwargs, retry=False, ignore_result=True)
    except RedisHangs:
        pass  # Logged already.
    except (RedisError, KombuError, OSError) as exc:
        logger.warning("%s was not sent: %s", task.name, exc)


@task_prerun.connect
def _take_connection(task: Task[Any, Any], **_: Any) -> None:
    # Celery would close connections after each task; see CELERY_DB_REUSE_MAX.
    if task.name != execute_run.name:  # Runs use the pool of their loop.
        task_connections.take()


@task_postrun.connect
def _give_back_connection(**_: Any) -> None:
    task_connections.give_back()


@worker_ready.connect
def _register_worker(**_: Any) -> None:
    registry()  # Load graphs at start, so that a broken one does not fail a run.
    worker.current()


@worker_shutting_down.connect
def _stop_worker(how: str, **_: Any) -> None:
    grace = settings.BG_JOB_SHUTDOWN_GRACE_PERIOD_SECS
    stopping = threading.Thread(target=worker.current().stop, args=[grace])
    stopping.start()
    if how == "Warm":  # After a cold shutdown other workers get its runs at once.
        _waits_for.append(stopping)


@worker_shutdown.connect
def _leave(**_: Any) -> None:
    # Celery has waited for its tasks, but does not know of the runs.
    for stopping in _waits_for:
        stopping.join()
    worker.current().leave()
    traces.stop()
    threading.Thread(target=_exit_at_last, daemon=True).start()


_waits_for: list[threading.Thread] = []


def _exit_at_last() -> None:
    """Exit after a timeout, even if threads are left: their nodes can't be stopped.

    The runs are handed back by now, so that the fence rejects writes of the nodes.
    """
    time.sleep(EXIT_TIMEOUT_SECS)
    logger.warning("a node does not stop; abandoning it")
    logging.shutdown()
    os._exit(0)
