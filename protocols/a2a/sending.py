"""Messages to agents: each creates a run, for a new task or to resume one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from a2a.types.a2a_pb2 import (
    Message,
    Part,
    SendMessageConfiguration,
    SendMessageRequest,
)
from a2a.utils.errors import (
    ContentTypeNotSupportedError,
    InvalidParamsError,
    UnsupportedOperationError,
)
from django.db import transaction
from google.protobuf.json_format import MessageToDict

from spool.access.policy import authorize
from spool.assistants.models import Assistant
from spool.assistants.schemas import EdgeSchemas, edge_schemas
from spool.database.ids import uuid7
from spool.protocols.a2a import pushes
from spool.protocols.a2a.calls import Call
from spool.protocols.a2a.parts import SENT_ID, answer_of, content_of, data_of
from spool.protocols.a2a.tasks import (
    MESSAGES,
    TaskRef,
    TaskRuns,
    end_state,
    find_task,
    of_agent,
)
from spool.runs import lifecycle
from spool.runs.models import Run
from spool.runs.requests import allow_run
from spool.runs.run_request import RunRequest
from spool.runs.serializers import parse_run_request
from spool.runs.services import create_run
from spool.runs.streaming.events import newest_id
from spool.runs.streaming.run_stream import NEVER, RunStream

# Tokens are published only if the client may follow the run.
MODES = ["values"]
STREAM_MODES = ["values", "messages-tuple"]


@dataclass(frozen=True)
class Sent:
    """The task that a message was sent to, and the stream of its new run."""

    task: TaskRuns
    edges: EdgeSchemas
    stream: RunStream


def send(call: Call, params: SendMessageRequest, *, is_watched: bool) -> Sent:
    """Create the run that answers a message. `is_watched`: also publish its tokens."""
    message, wanted = params.message, params.configuration
    scope, assistant = call.agent()
    edges = edge_schemas(assistant, scope)
    body = {
        "assistant_id": str(assistant.id),
        "metadata": {**MessageToDict(params.metadata), SENT_ID: message.message_id},
        "stream_mode": STREAM_MODES if is_watched else MODES,
    }
    pushes.check_config(wanted)
    run_request = parse_run_request(body)
    if message.task_id:
        task, after = _answer(call, assistant, message, run_request, wanted)
    else:
        task, after = _begin(call, edges, message, run_request, wanted)
    stream = RunStream(task.thread.id, task.newest.id, after=after, is_new=True)
    return Sent(task, edges, stream)


def _begin(
    call: Call,
    edges: EdgeSchemas,
    message: Message,
    run_request: RunRequest,
    wanted: SendMessageConfiguration,
) -> tuple[TaskRuns, tuple[int, int]]:
    """Create a task in the context that the message names, or in a new context."""
    thread_id = _context_id(message)
    run_request = replace(run_request, input=_graph_input(message, edges))
    if thread_id:
        run_request = replace(run_request, if_not_exists="create")
    else:
        run_request = replace(run_request, on_completion="keep")
    allowed = allow_run(call.request, run_request, thread_id)
    after = (newest_id(thread_id) if thread_id else None) or NEVER
    with transaction.atomic():
        run = create_run(replace(allowed, first_run_id=allowed.run_id))
        task = TaskRuns(run.thread, [run], is_latest=True)
        pushes.store_config(call, task.ref, wanted)
    return task, after


def _answer(
    call: Call,
    assistant: Assistant,
    message: Message,
    run_request: RunRequest,
    wanted: SendMessageConfiguration,
) -> tuple[TaskRuns, tuple[int, int]]:
    """Create a run that resumes a task which waits for input."""
    ref = TaskRef.parse(message.task_id)
    if message.context_id and message.context_id != str(ref.thread_id):
        raise InvalidParamsError(f"task {ref} is not of context {message.context_id}")
    read = {"thread_id": ref.thread_id, "run_id": ref.first_run_id, "metadata": {}}
    scope = authorize(call.request, "threads.read", read).scope
    runs = of_agent(scope, assistant.id)
    task = find_task(runs, ref)
    _check_waits(task)
    run_request = replace(
        run_request,
        command={"resume": _resume(task, message.parts)},
        multitask_strategy=Run.MultitaskStrategy.REJECT,
    )
    allowed = allow_run(call.request, run_request, ref.thread_id)
    after = newest_id(ref.thread_id) or NEVER
    with transaction.atomic():
        # If two answers arrive at once, the second one finds the run of the first.
        lifecycle.lock_thread(ref.thread_id)
        fresh = find_task(runs.all(), ref)
        if fresh.newest.pk != task.newest.pk:
            raise UnsupportedOperationError(f"task {ref} has already been answered")
        _check_waits(fresh)
        run = create_run(replace(allowed, first_run_id=ref.first_run_id))
        pushes.store_config(call, ref, wanted)
    return TaskRuns(fresh.thread, [*fresh.runs, run], is_latest=True), after


def _check_waits(task: TaskRuns) -> None:
    if task.is_active:
        raise UnsupportedOperationError(
            f"task {task.ref} is running: wait until it needs input, or send the "
            "message to its context"
        )
    if not task.needs_input:
        raise UnsupportedOperationError(
            f"task {task.ref} has ended: send the message to its context"
        )


def _context_id(message: Message) -> UUID | None:
    if not message.context_id:
        return None
    try:
        return UUID(message.context_id)
    except ValueError:
        raise InvalidParamsError("contextId must be a UUID") from None


def _resume(task: TaskRuns, parts: Sequence[Part]) -> Any:
    """The answers to the graph's interrupts.

    To answer several, each part names its interrupt (`metadata.interrupt_id`), or the
    data's keys are interrupt ids. Any other answer belongs to the first interrupt.
    """
    ids = [str(one["id"]) for one in end_state(task, task.newest).interrupts]
    answer = answer_of(parts)
    if not ids:  # It stopped at a breakpoint.
        return answer
    named = {_interrupt_id(part): answer_of([part]) for part in parts}
    for answers in (answer, named):
        if isinstance(answers, dict) and answers and set(answers) <= set(ids):
            return answers
    return {ids[0]: answer}


def _interrupt_id(part: Part) -> str:
    return str(MessageToDict(part.metadata).get("interrupt_id", ""))


# --- The graph's input ---------------------------------------------------------------
def _graph_input(message: Message, edges: EdgeSchemas) -> Any:
    """A message for graphs that take messages, else the data of its parts.

    Data whose keys are all input fields fills those fields. A graph without messages
    also takes text, if its input has one text field or is not described at all.
    """
    fields = fields_of(edges.input)
    takes_messages = MESSAGES in fields
    given: dict[str, Any] = {}
    said: list[Part] = []
    for part in message.parts:
        data = data_of(part) if part.HasField("data") else None
        if isinstance(data, dict) and _is_input(data, fields):
            given |= data
        else:
            said.append(part)
    if takes_messages and said:
        content = content_of(said)
        human = {"type": "human", "content": content, "id": str(uuid7())}
        return {**given, MESSAGES: [human]}
    if not said:
        return given
    return _without_messages(said, given, fields)


def _is_input(data: dict[str, Any], fields: dict[str, Any]) -> bool:
    """Whether all keys are input fields. Empty data is input only without messages."""
    return set(data) <= set(fields) - {MESSAGES} and bool(
        data or MESSAGES not in fields
    )


def _without_messages(
    said: Sequence[Part], data: dict[str, Any], fields: dict[str, Any]
) -> Any:
    if len(said) > 1 or said[0].WhichOneof("content") not in ("text", "data"):
        raise _not_taken(fields)
    value = answer_of(said)
    texts = [name for name, kind in fields.items() if kind.get("type") == "string"]
    if not fields:
        return value
    if len(texts) != 1 or texts[0] in data or not isinstance(value, str):
        raise _not_taken(fields)
    return {**data, texts[0]: value}


def _not_taken(fields: dict[str, Any]) -> ContentTypeNotSupportedError:
    names = ", ".join(fields) or "one value"
    return ContentTypeNotSupportedError(
        f"this agent accepts one data part, with the fields: {names}"
    )


def fields_of(schema: dict[str, Any]) -> dict[str, Any]:
    """The properties of an object, from the schema's root or from its `$defs`."""
    name = str(schema.get("$ref", "")).rpartition("/")[2]
    root = schema.get("$defs", {}).get(name, schema)
    found = root.get("properties", {})
    return found if isinstance(found, dict) else {}
