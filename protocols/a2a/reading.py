"""Read, follow and cancel existing tasks."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from a2a.types.a2a_pb2 import Task
from a2a.utils.errors import TaskNotCancelableError, UnsupportedOperationError

from spool.access.policy import Scope, authorize
from spool.assistants.schemas import EdgeSchemas
from spool.protocols.a2a.calls import Call
from spool.protocols.a2a.tasks import (
    TaskRef,
    TaskRuns,
    build_task,
    edges_for,
    edges_of,
    find_task,
    of_agent,
    task_after,
)
from spool.runs.models import Run
from spool.runs.services import cancel_run
from spool.runs.streaming.run_stream import NEVER, RunStream


@dataclass(frozen=True)
class Joined:
    """A task as it is now. `stream` follows its run; None if the task needs input."""

    built: Task
    edges: EdgeSchemas
    stream: RunStream | None


def read_task(call: Call, ref: TaskRef, history_length: int | None) -> Task:
    scope, task = _find(call, ref)
    edges = edges_of(call.assistant_id, scope)
    return build_task(task, edges, history_length=history_length)


def read_left(
    call: Call, ref: TaskRef, run_id: UUID, history_length: int | None = None
) -> Task:
    """The task as left by the run that the caller has just created or cancelled."""
    task = task_after(ref, run_id)
    return build_task(task, edges_for(task), history_length=history_length)


def join_task(call: Call, ref: TaskRef) -> Joined:
    """Find a task to follow. Raises `UnsupportedOperationError` if it has ended."""
    scope, task = _find(call, ref)
    edges = edges_of(call.assistant_id, scope)
    if not task.is_active and not task.needs_input:
        raise UnsupportedOperationError(f"task {ref} has ended")
    # Follow from the run's beginning: the task doesn't have its streamed tokens yet.
    stream = RunStream(ref.thread_id, task.newest.id, after=NEVER)
    return Joined(build_task(task, edges), edges, stream if task.is_active else None)


def cancel_task(call: Call, ref: TaskRef) -> RunStream:
    """Cancel the task's run. Return the run's stream; its end confirms the cancel.

    Raises `TaskNotCancelableError` if the task has no active run.
    """
    _, task = _find(call, ref, "threads.update", action=Run.CancelAction.INTERRUPT)
    stream = RunStream(ref.thread_id, task.newest.id, after=NEVER)
    if not cancel_run(task.newest, Run.CancelAction.INTERRUPT):
        raise TaskNotCancelableError
    return stream


def _find(
    call: Call, ref: TaskRef, event: str = "threads.read", **more: str
) -> tuple[Scope, TaskRuns]:
    """The caller's scope and the task, if the policy allows `event` for it."""
    value = {"thread_id": ref.thread_id, "run_id": ref.first_run_id, "metadata": {}}
    scope = authorize(call.request, event, {**value, **more}).scope
    return scope, find_task(of_agent(scope, call.assistant_id), ref)
