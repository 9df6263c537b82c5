"""Stops runs whose owner or API key has used up its budget.

A graph that catches the exceptions of its models would go on, so its run is cancelled.
"""

from __future__ import annotations

import logging
from functools import partial

from django.db import connection, transaction
from django.db.models import Q

from spool.runs import lifecycle
from spool.runs.lifecycle import Ended, Outcome
from spool.runs.models import Run, RunQuerySet
from spool.runs.streaming import events
from spool.runs.streaming.writer import publish_end
from spool.usage import budgets
from spool.usage.budgets import Payer

logger = logging.getLogger(__name__)

# The owners and API keys of running runs.
PAYERS = """
SELECT DISTINCT coalesce("user" ->> 'identity', owner), api_key_id
FROM runs WHERE status = 'running'
"""


def stop_over_budget() -> list[Ended]:
    """Stop active runs that are over budget. Returns the ends of runs that never began.

    The others are ended by their workers.
    """
    if not budgets.known.any():
        return []
    with connection.cursor() as cursor:
        cursor.execute(PAYERS)
        running = [Payer(owner, key) for owner, key in cursor.fetchall()]
    ended: list[Ended] = []
    for payer in budgets.payers_with_budgets(running):
        standing = budgets.used_up(payer)
        if standing:
            runs = _active(standing.budget.owner, payer)
            stopped = [_stop(run) for run in runs.oldest_first()]
            ended += [end for end in stopped if end]
            if stopped:
                logger.warning(
                    "Stopping %d runs of %s: %s", len(stopped), payer.owner, standing
                )
    return ended


def _active(owner: str, payer: Payer) -> RunQuerySet:
    """Active runs that count against this budget and are not being stopped yet."""
    active = Run.objects.active().exclude(cancel_action=Run.OVER_BUDGET)
    if not owner:
        return active.filter(api_key_id=payer.api_key_id)
    return active.filter(Q(user__identity=owner) | Q(user=None, owner=owner))


@transaction.atomic
def _stop(run: Run) -> Ended | None:
    lifecycle.lock_thread(run.thread_id)
    fresh = Run.objects.active().filter(pk=run.pk).first()
    if fresh is None:
        return None
    # Once a worker has begun a run, only a worker knows the resulting state.
    if fresh.status == Run.Status.PENDING and not fresh.attempt:
        outcome = Outcome(Run.Status.ERROR, Run.BUDGET_ERROR, settles=False)
        if ended := lifecycle.end_here(fresh, outcome):
            publish = partial(
                publish_end,
                fresh.thread_id,
                fresh.id,
                Run.Status.ERROR,
                Run.BUDGET_ERROR,
                generation=events.generation(fresh.thread.created_at),
                graph_id=fresh.graph_id,
                used_seq=(ended.event_seq or 1) - 1,
            )
            transaction.on_commit(publish)
            return ended
    reason = Run.BUDGET_ERROR["message"]
    if lifecycle.request_stop(fresh, Run.OVER_BUDGET, reason):
        signal = partial(events.signal_stop, fresh.id, Run.OVER_BUDGET)
        transaction.on_commit(signal)
    return None
