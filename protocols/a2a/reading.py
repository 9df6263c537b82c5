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
    task_left_by,
)
from spool.runs.models import Run
from spool.runs.services import cancel_run
from spool.runs.streaming.run_stream import NEVER, RunStream


@dataclass(frozen=True)
class Joined:
    """A task as it is, and where it can be followed; None where it waits for input."""

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
    """The task after the run that the caller has just created or cancelled."""
    task = task_left_by(ref, run_id)
    return build_task(task, edges_for(task), history_length=history_length)


def join_task(call: Call, ref: TaskRef) -> Joined:
    """Raises `UnsupportedOperationError` for a task that is over."""
    scope, task = _find(call, ref)
    edges = edges_of(call.assistant_id, scope)
    if not task.is_active and not task.needs_input:
        raise UnsupportedOperationError(f"task {ref} has ended")
    # From the run's beginning: its streamed tokens are not in the task yet.
    stream = RunStream(ref.thread_id, task.newest.id, after=NEVER)
    return Joined(build_task(task, edges), edges, stream if task.is_active else None)


def cancel_task(call: Call, ref: TaskRef) -> RunStream:
    """Cancel the task's run. Return its stream, whose end confirms it.

    Raises `TaskNotCancelableError` where nothing runs.
    """
    _, task = _find(call, ref, "threads.update", action=Run.CancelAction.INTERRUPT)
    stream = RunStream(ref.thread_id, task.newest.id, after=NEVER)
    if not cancel_run(task.newest, Run.CancelAction.INTERRUPT):
        raise TaskNotCancelableError
    return stream


def _find(
    call: Call, ref: TaskRef, event: str = "threads.read", **more: str
) -> tuple[Scope, TaskRuns]:
    """The task, if the policy lets the caller have it, and the scope that it is in."""
    value = {"thread_id": ref.thread_id, "run_id": ref.first_run_id, "metadata": {}}
    scope = authorize(call.request, event, {**value, **more}).scope
    return scope, find_task(of_agent(scope, call.assistant_id), ref)
