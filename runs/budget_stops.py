"""Stops the runs of those who have used up their budget, from outside.

A graph that catches what a model raises can't go on: its run is stopped as by a cancel.
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

# Whose runs are running now.
PAYERS = """
SELECT DISTINCT coalesce("user" ->> 'identity', owner), api_key_id
FROM runs WHERE status = 'running'
"""


def stop_over_budget() -> list[Ended]:
    """Stop what runs and waits over budget; what the ends of those set going."""
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
                    "%d runs of %s are stopped: %s", len(stopped), payer.owner, standing
                )
    return ended


def _active(owner: str, payer: Payer) -> RunQuerySet:
    """The runs that are under the budget, and were not told to stop yet."""
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
    # Where a worker had begun it, only a worker can tell what state that has led to.
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
            )
            transaction.on_commit(publish)
            return ended
    if lifecycle.ask_to_stop(fresh, Run.OVER_BUDGET):
        signal = partial(events.signal_stop, fresh.id, Run.OVER_BUDGET)
        transaction.on_commit(signal)
    return None
