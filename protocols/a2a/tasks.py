"""A2A's tasks: a run, and the runs that resume it.

A task has no row of its own. Its newest run determines its state; its messages and
artifacts are what its runs added to the thread's state.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID

from a2a.types.a2a_pb2 import Artifact, Message, Role, Task, TaskState, TaskStatus
from a2a.utils.errors import TaskNotFoundError
from django.db.models import Q

from spool.access.policy import Scope
from spool.assistants.models import Assistant
from spool.assistants.schemas import EdgeSchemas, edge_schemas
from spool.database.json import dumps, loads
from spool.protocols.a2a.parts import (
    SENT_ID,
    data_part,
    message_of,
    parts_of,
    value_part,
)
from spool.runs.models import Run, RunQuerySet
from spool.threads.models import Thread
from spool.threads.state import get_history
from spool.web.errors import Unprocessable

# The key of a graph's input and output that has the conversation.
MESSAGES = "messages"
ENDED = {
    Run.Status.ERROR: TaskState.TASK_STATE_FAILED,
    Run.Status.TIMEOUT: TaskState.TASK_STATE_FAILED,
    Run.Status.INTERRUPTED: TaskState.TASK_STATE_CANCELED,
}


@dataclass(frozen=True)
class TaskRef:
    """A task's id, parsed. Its text is `<thread id>:<id of the first run>`."""

    thread_id: UUID
    first_run_id: UUID

    @classmethod
    def parse(cls, text: str) -> TaskRef:
        thread_id, _, first_run_id = text.partition(":")
        try:
            return cls(UUID(thread_id), UUID(first_run_id))
        except ValueError:
            raise TaskNotFoundError from None

    def __str__(self) -> str:
        return f"{self.thread_id}:{self.first_run_id}"


@dataclass(frozen=True)
class EndState:
    """The state after a run: the thread's values, and its open interrupts."""

    values: Any = None
    interrupts: Sequence[dict[str, Any]] = ()


@dataclass(frozen=True)
class TaskRuns:
    """The runs of one task, oldest first.

    `is_latest`: no run of the thread has begun after the newest of them, so that the
    thread's row shows the state after it.
    """

    thread: Thread
    runs: Sequence[Run]
    is_latest: bool
    # For a task as it was earlier: whether it needed input then. None: as it is now.
    waited: bool | None = None
    # A cache for `end_state`, by the run's id.
    _ends: dict[UUID, EndState] = field(default_factory=dict, repr=False)

    @property
    def ref(self) -> TaskRef:
        first_run_id = self.newest.first_run_id or self.newest.id
        return TaskRef(self.thread.id, first_run_id)

    @property
    def newest(self) -> Run:
        return self.runs[-1]

    @property
    def is_active(self) -> bool:
        return self.newest.is_active

    @property
    def needs_input(self) -> bool:
        return self.state == TaskState.TASK_STATE_INPUT_REQUIRED

    @property
    def state(self) -> TaskState:
        run = self.newest
        if run.status == Run.Status.RUNNING or (run.is_active and run.attempt):
            return TaskState.TASK_STATE_WORKING
        if run.is_active:
            return TaskState.TASK_STATE_SUBMITTED
        if run.status in ENDED:
            return ENDED[Run.Status(run.status)]
        if self.waits:
            return TaskState.TASK_STATE_INPUT_REQUIRED
        return TaskState.TASK_STATE_COMPLETED

    @property
    def waits(self) -> bool:
        """Whether the newest run, which must have succeeded, ended in an interrupt."""
        if self.waited is not None:
            return self.waited
        at_rest = self.thread.resting_status
        return self.is_latest and at_rest == Thread.Status.INTERRUPTED


@dataclass(frozen=True)
class Entry:
    """A message of a task, the run that it belongs to, and its artifact if any."""

    run: Run
    message: Message
    artifact: Artifact | None = None


# The schemas of an agent that is no longer served.
NOTHING_SHOWN = EdgeSchemas(input={}, output={}, output_keys=())


def edges_of(assistant_id: UUID, scope: Scope) -> EdgeSchemas:
    """The schemas of an agent's input and output. The graph is built for `scope`."""
    assistant = Assistant.objects.filter(pk=assistant_id).first()
    if assistant is None:
        return NOTHING_SHOWN
    try:
        return edge_schemas(assistant, scope)
    except Unprocessable:
        return NOTHING_SHOWN


# --- Finding tasks -----------------------------------------------------------------
def of_agent(scope: Scope, assistant_id: UUID) -> RunQuerySet:
    """The runs of an assistant that are visible in the caller's scope."""
    visible = Run.objects.visible_to(scope).filter(assistant_id=assistant_id)
    return visible.select_related("thread")


def find_task(runs: RunQuerySet, ref: TaskRef) -> TaskRuns:
    """The task `ref` among `runs`. Raises `TaskNotFoundError`."""
    first = ref.first_run_id
    named = Q(pk=first) | Q(first_run_id=first)
    found = list(runs.filter(named, thread=ref.thread_id).oldest_first())
    # A run that resumes another run is not the first of a task.
    if not found or found[0].pk != first or found[0].first_run_id not in (None, first):
        raise TaskNotFoundError
    return task_of(found)


def task_after(ref: TaskRef, run_id: UUID) -> TaskRuns:
    """The task as one of its runs left it, even if it has been answered since.

    Doesn't check access: only for callers who have just created or cancelled the run,
    follow it, or configured a notification. Raises `TaskNotFoundError`.
    """
    whole = find_task(Run.objects.select_related("thread"), ref)
    ids = [run.pk for run in whole.runs]
    if run_id not in ids:
        raise TaskNotFoundError
    task = task_of(whole.runs[: ids.index(run_id) + 1])
    if task.is_latest or task.newest.status != Run.Status.SUCCESS:
        return task
    return replace(task, waited=bool(end_state(task, task.newest).interrupts))


def edges_for(task: TaskRuns) -> EdgeSchemas:
    """The schemas of the agent's input and output, for the owner of the task's run."""
    run = task.newest
    return edges_of(run.assistant_id, Scope(run.owner, user=run.user))


def task_of(runs: Sequence[Run]) -> TaskRuns:
    newest = runs[-1]
    later = begun_after(newest.thread_id, newest.created_at, newest.id)
    return TaskRuns(newest.thread, runs, is_latest=not later.exists())


def begun_after(thread: Any, created_at: Any, run_id: Any) -> RunQuerySet:
    """The runs of a thread that come after the given run, and have begun."""
    later = Run.objects.filter(is_later(created_at, run_id), thread=thread)
    return later.filter(started_at__isnull=False)


def is_later(created_at: Any, run_id: Any) -> Q:
    """Select runs that come after the given run in the order of a thread's runs."""
    return Q(created_at__gt=created_at) | Q(created_at=created_at, id__gt=run_id)


# --- A task's content ----------------------------------------------------------------
def build_task(
    task: TaskRuns,
    edges: EdgeSchemas,
    *,
    history_length: int | None = None,
    with_artifacts: bool = True,
) -> Task:
    """The task on the wire, with the last `history_length` messages (None: all)."""
    built = bare_task(task)
    if history_length == 0 and not with_artifacts:
        return built
    entries = list(conversation(task, edges))
    if message := closing_message(task):
        built.status.message.CopyFrom(message)
    if history_length != 0:
        messages = [one.message for one in entries]
        built.history.extend(messages[-history_length:] if history_length else messages)
    if with_artifacts:
        built.artifacts.extend(one.artifact for one in entries if one.artifact)
        if output := output_artifact(task, edges):
            built.artifacts.append(output)
    return built


def bare_task(task: TaskRuns) -> Task:
    """The task without messages and artifacts: its ids and its state."""
    return Task(
        id=str(task.ref), context_id=str(task.thread.id), status=status_of(task)
    )


def status_of(task: TaskRuns) -> TaskStatus:
    status = TaskStatus(state=task.state)
    status.timestamp.FromDatetime(task.newest.updated_at)
    return status


def closing_message(task: TaskRuns) -> Message | None:
    """The question of a task that needs input, or the error of a failed task."""
    if task.needs_input:
        return _question(task, task.newest)
    error = task.newest.error or {}
    parts = parts_of(error.get("message") or error.get("error"))
    if task.state != TaskState.TASK_STATE_FAILED or not parts:
        return None
    message_id = f"{task.newest.id}-error"
    return Message(
        message_id=message_id, role=Role.ROLE_AGENT, parts=parts, **_ids(task)
    )


def shows_messages(edges: EdgeSchemas) -> bool:
    """Whether the messages of the graph's state are meant for its clients."""
    return edges.output_keys is not None and MESSAGES in edges.output_keys


def _new_messages(
    task: TaskRuns, run: Run, known: set[str]
) -> Iterator[dict[str, Any]]:
    """The messages that a run added to the thread's state, without its own input.

    Leaves out messages whose ids are in `known`, which earlier runs have shown.
    """
    values = end_state(task, run).values
    messages = values.get(MESSAGES) if isinstance(values, dict) else None
    if not isinstance(messages, list):
        return
    ids = [one.get("id") if isinstance(one, dict) else None for one in messages]
    first = (_sent_to_graph(task.runs[0]) or {}).get("id")
    begin = ids.index(first) + 1 if first in ids else max(len(ids) - 1, 0)
    for message, message_id in zip(messages[begin:], ids[begin:], strict=True):
        if isinstance(message, dict) and message_id not in known:
            yield message


def artifact_of(message: dict[str, Any]) -> Artifact | None:
    """The artifact of an agent's message. None for a message that calls tools, which is
    an intermediate step, and for one without content.
    """
    parts = parts_of(message.get("content"))
    if message.get("type") not in ("ai", "assistant") or message.get("tool_calls"):
        return None
    if not parts:
        return None
    name = message.get("name") or "answer"
    return Artifact(artifact_id=str(message.get("id")), name=str(name), parts=parts)


def output_artifact(task: TaskRuns, edges: EdgeSchemas) -> Artifact | None:
    """The graph's output without its messages, once the task is completed."""
    if task.state != TaskState.TASK_STATE_COMPLETED:
        return None
    values = end_state(task, task.newest).values
    if edges.output_keys is not None and isinstance(values, dict):
        keys = [key for key in edges.output_keys if key != MESSAGES]
        values = {key: values[key] for key in keys if values.get(key) is not None}
    if values is None or values == {}:
        return None
    part = value_part(values)
    return Artifact(artifact_id=str(task.newest.id), name="output", parts=[part])


def end_state(task: TaskRuns, run: Run) -> EndState:
    """The thread's state at the end of one of the task's runs."""
    if run.id not in task._ends:
        task._ends[run.id] = _end_state(task, run)
    return task._ends[run.id]


def _end_state(task: TaskRuns, run: Run) -> EndState:
    if run.is_active:
        return EndState()
    if run is task.newest and task.is_latest:
        of_tasks = (task.thread.ordered_interrupts or {}).values()
        interrupts = [one for some in of_tasks for one in some]
        return EndState(task.thread.values, interrupts)
    try:
        found = get_history(task.thread, limit=1, metadata={"run_id": str(run.id)})
    except Unprocessable:  # Its graph is no longer served.
        return EndState()
    if not found:
        return EndState()
    interrupts = [one for task in found[0].tasks for one in task.interrupts]
    return EndState(*loads(dumps([found[0].values, interrupts])))


def conversation(task: TaskRuns, edges: EdgeSchemas) -> Iterator[Entry]:
    """All messages of a task, in order."""
    known: set[str] = set()
    for run in task.runs:
        yield Entry(run, _sent_message(task, run))
        for message in _new_messages(task, run, known) if shows_messages(edges) else ():
            known.add(str(message.get("id")))
            if message.get("type") == "human":
                continue
            if built := message_of(message, **_ids(task)):
                yield Entry(run, built, artifact_of(message))
        if run is not task.newest and (interrupts := _question(task, run)):
            yield Entry(run, interrupts)


def _sent_message(task: TaskRuns, run: Run) -> Message:
    """The client's message that created this run."""
    return Message(
        message_id=str(run.metadata.get(SENT_ID) or run.id),
        role=Role.ROLE_USER,
        parts=_sent_parts(run) or [data_part(None)],
        **_ids(task),
    )


def _sent_parts(run: Run) -> list[Any]:
    command = run.kwargs.get("command") or {}
    if "resume" in command:
        resume = command["resume"]
        answers = list(resume.values()) if isinstance(resume, dict) else [resume]
        return [part for answer in answers for part in _parts(answer)]
    if message := _sent_to_graph(run):
        return parts_of(message.get("content"))
    given = run.kwargs.get("input")
    return [] if given is None else [value_part(given)]


def _sent_to_graph(run: Run) -> dict[str, Any] | None:
    """The last message in a run's input; None if the input has no messages."""
    given = run.kwargs.get("input")
    messages = given.get(MESSAGES) if isinstance(given, dict) else None
    if isinstance(messages, list) and messages and isinstance(messages[-1], dict):
        return messages[-1]
    return None


def _parts(answer: Any) -> list[Any]:
    blocks = isinstance(answer, list) and answer and isinstance(answer[0], dict)
    found = parts_of(answer) if isinstance(answer, str) or blocks else []
    return found or [value_part(answer)]


def _question(task: TaskRuns, run: Run) -> Message | None:
    """The run's interrupts as a message: a part for each, with its id in the metadata."""
    interrupts = end_state(task, run).interrupts
    parts = [value_part(interrupt.get("value")) for interrupt in interrupts]
    if not parts:
        return None
    for part, interrupt in zip(parts, interrupts, strict=True):
        part.metadata.update({"interrupt_id": str(interrupt.get("id"))})
    message_id = f"{run.id}-question"
    return Message(
        message_id=message_id, role=Role.ROLE_AGENT, parts=parts, **_ids(task)
    )


def _ids(task: TaskRuns) -> dict[str, str]:
    return {"task_id": str(task.ref), "context_id": str(task.thread.id)}
