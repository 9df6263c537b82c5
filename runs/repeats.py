"""Runs that operators start from an earlier run: to repeat it or resume its thread."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from django.db import transaction

from spool.access.policy import EVERYTHING
from spool.assistants.configurable import FORK_POINT
from spool.database.ids import uuid7
from spool.runs import lifecycle, tasks
from spool.runs.lifecycle import NewRun
from spool.runs.models import Run
from spool.runs.new_run import run_again
from spool.runs.run_request import RunKwargs
from spool.threads.checkpoint_rows import begin_of_run
from spool.threads.models import Thread
from spool.threads.services import create_thread
from spool.threads.thread_request import NewThread
from spool.web.errors import Conflict

# Keys of a thread's metadata that its next run sets.
OF_ITS_RUNS = ("graph_id", "assistant_id")


class NotRepeatable(Conflict):
    pass


@transaction.atomic
def repeat_on_new_thread(run: Run) -> Run:
    """Start the run again with the same input, on a thread of the same owner."""
    old = Thread.objects.filter(pk=run.thread_id).first()
    metadata = dict(old.metadata if old else run.metadata)
    for name in OF_ITS_RUNS:
        metadata.pop(name, None)
    new = NewThread(id=uuid7(), metadata=metadata)
    create_thread(EVERYTHING, new)
    again = run_again(run)
    named = {name: str(getattr(run, name)) for name in OF_ITS_RUNS}
    return _started(
        replace(
            again,
            thread_id=new.id,
            thread_metadata=named,
            first_run_id=None,
            kwargs=_continuing(again.kwargs, {}),
        )
    )


@transaction.atomic
def repeat_from_its_start(run: Run) -> Run:
    """Start the run again on its thread, from the checkpoint where it began.

    If the thread was empty then, the new run continues from the checkpoint that holds
    the run's input. Raises `NotRepeatable` if there is neither checkpoint, or if the
    thread is gone or busy.
    """
    begin = begin_of_run(run.thread_id, run.id)
    if begin is None:
        raise NotRepeatable(
            "The checkpoint where the run began is gone, or was not saved: run it on a "
            "new thread."
        )
    again = run_again(run)
    point = {"checkpoint_id": begin.checkpoint_id, "checkpoint_ns": ""}
    kwargs = _continuing(again.kwargs, point)
    if begin.has_input:
        kwargs = replace(kwargs, input=None, command=None)
    return _started(replace(again, kwargs=kwargs))


@transaction.atomic
def answer_interrupt(thread: Thread, answer: Any, interrupt_id: str | None) -> Run:
    """Resume an interrupted thread, with the options of its newest run.

    Without `interrupt_id`, `answer` is the whole value to resume with. Raises
    `NotRepeatable` if the thread has no run, or is busy.
    """
    resume = {interrupt_id: answer} if interrupt_id else answer
    return _resume(thread, {"resume": resume})


@transaction.atomic
def continue_thread(thread: Thread) -> Run:
    """Execute the remaining steps of a thread that stopped at a breakpoint.

    Raises `NotRepeatable` as `answer_interrupt` does.
    """
    return _resume(thread, None)


def _resume(thread: Thread, command: dict[str, Any] | None) -> Run:
    newest = Run.objects.filter(thread=thread.pk).newest_first().first()
    if newest is None:
        raise NotRepeatable("No run of the thread is left to resume.")
    again = run_again(newest)
    kwargs = replace(_continuing(again.kwargs, {}), input=None, command=command)
    return _started(replace(again, kwargs=kwargs, resumes=True, first_run_id=None))


def _continuing(kwargs: RunKwargs, point: Mapping[str, str]) -> RunKwargs:
    """The `kwargs` to continue from `point`, or from the newest checkpoint if empty."""
    configurable = dict(kwargs.config.get("configurable") or {})
    for name in FORK_POINT:
        configurable.pop(name, None)
    config = {**kwargs.config, "configurable": {**configurable, **point}}
    return replace(kwargs, config=config, temporary=False, webhook=None)


def _started(new: NewRun) -> Run:
    new = replace(
        new,
        multitask_strategy=Run.MultitaskStrategy.REJECT,
        run_class=Run.RunClass.BACKGROUND,
    )
    run = lifecycle.create(new).run
    if run is None:
        raise NotRepeatable("The thread is busy, or it is gone.")
    if run.dispatched_at:
        transaction.on_commit(partial(tasks.dispatch, run.id))
    return run
