"""What operators can do with a run."""

from __future__ import annotations

from typing import Any

from spool.console.operations import Operation
from spool.runs import repeats, services
from spool.runs.models import Run
from spool.threads.checkpoint_rows import begin_of_run


def _cancel(run: Run, answers: dict[str, Any]) -> bool:
    return services.cancel_run(run, Run.CancelAction.INTERRUPT, Run.BY_OPERATOR)


def _roll_back(run: Run, answers: dict[str, Any]) -> bool:
    return services.cancel_run(run, Run.CancelAction.ROLLBACK, Run.BY_OPERATOR)


def _requeue(run: Run, answers: dict[str, Any]) -> Run | None:
    return services.requeue_run(run)


def _has_begin(run: Run) -> bool:
    """Whether the run's thread still has the checkpoint where the run began."""
    if run.is_active or run.is_temporary:
        return False
    return begin_of_run(run.thread_id, run.pk) is not None


CANCEL = Operation(
    "cancel",
    "Cancel",
    _cancel,
    done="cancelled",
    left="it has ended already",
    applies=lambda run: run.is_active,
)
ROLL_BACK = Operation(
    "roll_back",
    "Cancel and roll back",
    _roll_back,
    done="rolled back",
    left="it has ended already",
    destroys=True,
    warning="The run is deleted, with all state that it saved in its thread.",
    applies=lambda run: run.is_active,
)
REQUEUE = Operation(
    "requeue",
    "Queue again",
    _requeue,
    done="queued again",
    left="it is running, or its thread is gone",
    applies=lambda run: run.status == Run.Status.PENDING,
)
ON_NEW_THREAD = Operation(
    "repeat_on_new_thread",
    "Run again on a new thread",
    lambda run, answers: repeats.repeat_on_new_thread(run),
    done="started again on a new thread",
    warning="A new thread of the same owner gets a run with the same input.",
    in_list=False,
    applies=lambda run: not run.is_active,
)
FROM_ITS_START = Operation(
    "repeat_from_its_start",
    "Run again from where it began",
    lambda run, answers: repeats.repeat_from_its_start(run),
    done="started again from the checkpoint where it began",
    warning="Its thread continues from the checkpoint where this run began. The later "
    "checkpoints stay in its history.",
    in_list=False,
    applies=_has_begin,
)
RUN_OPERATIONS = (CANCEL, ROLL_BACK, REQUEUE, ON_NEW_THREAD, FROM_ITS_START)
