"""Tool calls as runs: start a run, find its outcome, and clean up after it.

A call that names no thread gets a thread of its own. If the run stops at an interrupt,
the thread is kept for the answer, for `MCP_INTERRUPT_TTL_MINUTES`; otherwise it is
deleted when the call ends. If the process dies before, the thread's TTL deletes it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.db.models.functions import Now
from django.http import HttpRequest
from rest_framework.request import Request

from spool.access.policy import Scope, authorize
from spool.protocols.mcp.interrupts import Content, RequestState, question
from spool.protocols.mcp.schemas import (
    INPUT,
    INTERRUPTS,
    RESULT,
    RESUME,
    THREAD_ID,
    find_mistake,
)
from spool.protocols.mcp.tools import AssistantTool
from spool.runs import lifecycle
from spool.runs.models import Run
from spool.runs.requests import allow_run
from spool.runs.run_request import RunRequest
from spool.runs.serializers import parse_run_request
from spool.runs.services import cancel_run, create_run
from spool.runs.streaming.events import newest_id
from spool.runs.streaming.run_stream import NEVER
from spool.threads.models import Thread
from spool.threads.services import delete_threads
from spool.web.errors import Conflict, NotFound, Unprocessable

# The metadata of a thread that is deleted when its call ends.
OWN_THREAD = {"created_by": "mcp"}
# Progress is the names of nodes that have ended, and what nodes write to the stream.
PROGRESS_MODES = ["updates", "custom"]
# One mode must be named: most runs have no events of this one.
QUIET_MODES = ["custom"]


class NothingOpen(Conflict):
    default_detail = "The interrupt is no longer open: it was answered, or has expired."


@dataclass(frozen=True)
class Call:
    """The caller and the tool, and whether the client requests progress."""

    request: Request | HttpRequest
    tool: AssistantTool
    shows_progress: bool


@dataclass(frozen=True)
class Begin:
    """Arguments that are a graph's input; without a thread the call gets its own."""

    thread_id: UUID | None
    input: Any


@dataclass(frozen=True)
class Resume:
    """Arguments that answer a thread's open interrupts, in the graph's own format."""

    thread_id: UUID
    answer: Any


Arguments = Begin | Resume


@dataclass(frozen=True)
class Started:
    run_id: UUID
    thread_id: UUID
    # The thread is deleted when the call ends.
    owns_thread: bool
    # Older events of the thread belong to other runs.
    after: tuple[int, int] = NEVER


@dataclass(frozen=True)
class Finished:
    output: dict[str, Any]


@dataclass(frozen=True)
class Failed:
    reason: str


@dataclass(frozen=True)
class Asking:
    """The run has stopped at interrupts, which are in the order of its tasks."""

    thread_id: UUID
    interrupts: tuple[Mapping[str, Any], ...]

    @property
    def output(self) -> dict[str, Any]:
        """The result for clients that can't show forms to their users."""
        questions = [
            {"id": one["id"], "value": one["value"]} for one in self.interrupts
        ]
        return {THREAD_ID: str(self.thread_id), INTERRUPTS: questions}


Outcome = Finished | Failed | Asking


def read_arguments(tool: AssistantTool, arguments: Mapping[str, Any]) -> Arguments:
    """Parse the arguments of a call. Raises 422, which says what is wrong with them."""
    names = tool.schemas.own_arguments
    own = {key: value for key, value in arguments.items() if key in names}
    rest = {key: value for key, value in arguments.items() if key not in names}
    thread_id = _thread_id(own.get(THREAD_ID))
    if RESUME in own:
        if thread_id is None:
            raise Unprocessable("resume: thread_id is required")
        return Resume(thread_id, own[RESUME])
    if mistake := find_mistake(tool.schemas.input, rest):
        raise Unprocessable(mistake)
    return Begin(thread_id, _graph_input(tool, rest))


def start(call: Call, arguments: Arguments) -> Started:
    """Create the call's run. Raises an `APIException` if that is refused."""
    if isinstance(arguments, Resume):
        return _resume(call, arguments)
    if arguments.thread_id is None:
        return _start_alone(call, arguments.input)
    after = newest_id(arguments.thread_id) or NEVER
    run_request = _run_request(call, input=arguments.input)
    run = create_run(allow_run(call.request, run_request, arguments.thread_id))
    return Started(run.id, run.thread_id, owns_thread=False, after=after)


def answer(call: Call, state: RequestState, contents: Mapping[str, Content]) -> Started:
    """Resume an interrupted run. A second answer gets 409."""
    _check_tool(call, state)
    if not set(state.interrupt_ids) <= set(contents):
        raise Unprocessable("inputResponses: some interrupts are not answered")

    answers = {key: contents[key] for key in state.interrupt_ids}
    thread = Thread.objects.filter(pk=state.thread_id).first()
    if thread:  # The visibility is checked below.
        questions = {
            one.interrupt_id: one for one in map(question, interrupts_of(thread))
        }
        answers |= {
            key: questions[key].read(answers[key])
            for key in questions
            if key in answers
        }
    return _resume(call, Resume(state.thread_id, answers), state.interrupt_ids)


def find_open(call: Call, state: RequestState) -> Asking:
    """The interrupts that are still open."""
    thread = _thread_of(call, state)
    return Asking(thread.id, interrupts_of(thread))


def give_up(call: Call, state: RequestState) -> None:
    """Give up a call whose interrupts will not be answered."""
    thread = _thread_of(call, state)
    if _goes_with_its_call(thread):
        _delete_at_rest(thread.id)


def find_outcome(call: Call, started: Started) -> Outcome:
    """The outcome of a run that has ended."""
    run = Run.objects.select_related("thread").filter(pk=started.run_id).first()
    if run is None:
        return Failed("The run was deleted.")
    if run.status == Run.Status.ERROR:
        error = run.error or {}
        return Failed(f"{error.get('error')}: {error.get('message')}")
    if run.status == Run.Status.TIMEOUT:
        return Failed("The run took too long.")
    if run.status != Run.Status.SUCCESS:
        return Failed("The run was cancelled.")
    # Not `status`: another run of the thread may have begun.
    if run.thread.resting_status == Thread.Status.INTERRUPTED:
        return Asking(run.thread_id, interrupts_of(run.thread))
    return Finished(_output(call.tool, run.thread.values))


def clean_up(started: Started) -> None:
    """Delete the call's own thread, which is no longer needed."""
    if started.owns_thread:
        _delete_at_rest(started.thread_id)


def cancel(started: Started) -> None:
    """Cancel the call's run, because no client waits for its result."""
    if started.owns_thread:
        delete_threads(Thread.objects.filter(pk=started.thread_id))
    elif run := Run.objects.filter(pk=started.run_id).first():
        cancel_run(run, Run.CancelAction.INTERRUPT)


def interrupts_of(thread: Thread) -> tuple[Mapping[str, Any], ...]:
    """The thread's open interrupts, in the order of its tasks."""
    tasks = (thread.ordered_interrupts or {}).values()
    return tuple(interrupt for task in tasks for interrupt in task)


def _run_request(
    call: Call,
    *,
    input: Any = None,
    command: Mapping[str, Any] | None = None,
    metadata: Mapping[str, Any] | None = None,
    multitask_strategy: str | None = None,
) -> RunRequest:
    body = {
        "assistant_id": str(call.tool.assistant.id),
        "stream_mode": PROGRESS_MODES if call.shows_progress else QUIET_MODES,
        "on_completion": "keep",
        "input": input,
        "command": command,
        "metadata": metadata,
        "multitask_strategy": multitask_strategy,
    }
    return parse_run_request(body)


def _start_alone(call: Call, graph_input: Any) -> Started:
    """Create a run on a new thread, which has a TTL from the beginning."""
    run_request = _run_request(call, input=graph_input, metadata=dict(OWN_THREAD))
    allowed = allow_run(call.request, run_request, None)
    minutes = settings.MCP_INTERRUPT_TTL_MINUTES
    with transaction.atomic():
        run = create_run(allowed)
        Thread.objects.filter(pk=run.thread_id).update(
            ttl_minutes=minutes,
            ttl_strategy=Thread.TTLStrategy.DELETE,
            expires_at=Now() + timedelta(minutes=minutes),
        )
    return Started(run.id, run.thread_id, owns_thread=True)


def _resume(call: Call, resume: Resume, interrupt_ids: tuple[str, ...] = ()) -> Started:
    """Create a run with the answers to a thread's interrupts.

    Raises `NothingOpen` unless all of `interrupt_ids` are open. Locks the thread, so
    that a second answer at the same time finds the thread busy, and a later one finds
    no open interrupt.
    """
    after = newest_id(resume.thread_id) or NEVER
    command = {"resume": resume.answer}
    run_request = _run_request(call, command=command, multitask_strategy="reject")
    allowed = allow_run(call.request, run_request, resume.thread_id)
    with transaction.atomic():
        thread = _locked(allowed.scope, resume.thread_id)
        is_open = {str(one["id"]) for one in interrupts_of(thread)}
        if (
            thread.resting_status != Thread.Status.INTERRUPTED
            or not set(interrupt_ids) <= is_open
        ):
            raise NothingOpen
        run = create_run(allowed)
    owns = _goes_with_its_call(thread)
    return Started(run.id, run.thread_id, owns_thread=owns, after=after)


def _delete_at_rest(thread_id: UUID) -> None:
    """Delete a thread, unless another call or client has started a run on it."""
    threads = Thread.objects.filter(pk=thread_id)
    delete_threads(threads.exclude(status=Thread.Status.BUSY))


def _check_tool(call: Call, state: RequestState) -> None:
    if state.assistant_id != call.tool.assistant.id:
        raise Unprocessable("requestState: it belongs to another tool")


def _thread_of(call: Call, state: RequestState) -> Thread:
    _check_tool(call, state)
    value = {"thread_id": state.thread_id}
    scope = authorize(call.request, "threads.read", value).scope
    thread = Thread.objects.visible_to(scope).filter(pk=state.thread_id).first()
    if thread is None:
        raise NothingOpen
    return thread


def _goes_with_its_call(thread: Thread) -> bool:
    return all(thread.metadata.get(key) == OWN_THREAD[key] for key in OWN_THREAD)


def _locked(scope: Scope, thread_id: UUID) -> Thread:
    visible = Thread.objects.visible_to(scope).filter(pk=thread_id)
    # Check this first, so that a caller can't lock another owner's row.
    if visible.exists():
        lifecycle.lock_thread(thread_id)
        if thread := visible.first():
            return thread
    raise NotFound(f"Thread with ID {thread_id} not found")


def _thread_id(given: Any) -> UUID | None:
    if given is None:
        return None
    try:
        return UUID(given)
    except (ValueError, TypeError, AttributeError):
        raise Unprocessable("thread_id: it must be a UUID") from None


def _graph_input(tool: AssistantTool, arguments: Mapping[str, Any]) -> Any:
    if tool.schemas.wraps_input:
        return arguments[INPUT]
    return {key: _field(tool, key, value) for key, value in arguments.items()}


def _field(tool: AssistantTool, key: str, value: Any) -> Any:
    """Convert text in a field for messages to one message of the user."""
    if key in tool.schemas.message_fields and isinstance(value, str):
        return [{"role": "user", "content": value}]
    return value


def _output(tool: AssistantTool, values: Any) -> dict[str, Any]:
    """The values of the graph's output schema; other values are left out."""
    keys = tool.schemas.output_keys
    if keys is None or not isinstance(values, dict):
        return {RESULT: values}
    return {key: value for key, value in values.items() if key in keys}
