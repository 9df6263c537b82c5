"""Creates many runs in a few statements, for crons that are due at once.

Each run is created or refused separately, as by `services.create_run`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, partial
from uuid import UUID

from django.db import transaction

from spool.access.policy import EVERYTHING
from spool.assistants.services import resolve_assistant
from spool.runs import lifecycle, tasks
from spool.runs.lifecycle import Creating, Creation
from spool.runs.models import Run
from spool.runs.new_run import new_run, run_kwargs
from spool.runs.priority import thread_priority
from spool.runs.run_request import AllowedRun
from spool.runs.services import (
    INTERRUPTING,
    AssistantChanged,
    TooManyRuns,
    check_request,
    payer_of,
    room_for_runs,
    thread_of,
    why_refused,
)
from spool.threads.models import Thread
from spool.usage import budgets
from spool.usage.budgets import BudgetExceeded


class NotForBatch(Exception):
    """The run can't be created in a batch: use `create_run`."""


@dataclass(frozen=True, slots=True)
class Added:
    identity: str | None
    creating: Creating
    # The thread to create; None if it exists.
    thread: Thread | None


class Batch:
    """Runs that are created together, in the caller's transaction."""

    def __init__(self) -> None:
        self._added: list[Added] = []
        self._used_up = cache(budgets.used_up)

    def add(self, run: AllowedRun) -> None:
        """Add a run. Raises what `create_run` would raise, or `NotForBatch`."""
        request, scope = run.request, run.scope
        if request.multitask_strategy in INTERRUPTING or request.creates_thread:
            raise NotForBatch
        if run.thread_id and not (scope.is_plain and self._is_new(run.thread_id)):
            raise NotForBatch
        check_request(run)
        if standing := self._used_up(payer_of(run)):
            raise BudgetExceeded(standing)
        assistant = resolve_assistant(
            run.assistants or scope, request.assistant_id, remembered=True
        )
        kwargs = run_kwargs(run, assistant)
        if kwargs.checkpoint_id:
            raise NotForBatch
        priority = thread_priority(run, assistant)
        new = new_run(run, assistant, kwargs, priority)
        creating = Creating(
            new, scope if run.thread_id else EVERYTHING, assistant.updated_at
        )
        thread = None if run.thread_id else thread_of(request, new, priority)
        self._added.append(Added(scope.identity, creating, thread))

    def create(self) -> dict[UUID, Run | Exception]:
        """Create the runs. Returns each run, or why it was refused, by the run's id.

        The reason is `NotForBatch` if `create_run` has to create the run. Raises a
        database error if a thread is locked, for example; no run is created then.
        """
        results: dict[UUID, Run | Exception] = {
            one.creating.new.id: TooManyRuns() for one in self._added
        }
        fitting = self._within_limits()
        threads = {one.creating.new.id: one.thread for one in fitting if one.thread}
        Thread.objects.bulk_create(threads.values(), ignore_conflicts=True)
        creations = lifecycle.create_many([one.creating for one in fitting])
        for one, created in zip(fitting, creations, strict=True):
            results[one.creating.new.id] = _result(created)
            if created.run:
                threads.pop(created.run.id, None)
        if threads:  # The new threads of runs that were not created.
            Thread.objects.filter(pk__in=[one.id for one in threads.values()]).delete()
        return results

    def _within_limits(self) -> list[Added]:
        """Return the added runs whose owners may have another active run."""
        # Lock owners in the same order everywhere, to avoid deadlocks.
        owners = sorted({one.identity or "" for one in self._added})
        room = {owner: room_for_runs(owner or None) for owner in owners}
        fitting = []
        for one in self._added:
            room[one.identity or ""] -= 1
            if room[one.identity or ""] >= 0:
                fitting.append(one)
        return fitting

    def _is_new(self, thread_id: UUID) -> bool:
        """Whether no run of the thread has been added yet."""
        return thread_id not in (one.creating.new.thread_id for one in self._added)


def _result(created: Creation) -> Run | Exception:
    if created.run is None:
        why = why_refused(created)
        # The assistant has changed since it was read.
        return NotForBatch() if isinstance(why, AssistantChanged) else why
    if created.run.dispatched_at:
        transaction.on_commit(partial(tasks.dispatch, created.run.id))
    return created.run
