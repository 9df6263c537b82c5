"""The commands of the protocol, each authorised like the route that does the same.

The commands for subscriptions are in `websockets`, since they belong to a connection.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any
from uuid import UUID

from django.db import transaction
from django.http import HttpRequest
from rest_framework.exceptions import APIException, PermissionDenied
from rest_framework.request import Request

from spool.access.policy import authorize
from spool.protocols.event_streaming.errors import Refusal, refusal_of
from spool.protocols.event_streaming.forms import written
from spool.protocols.event_streaming.requests import (
    Command,
    InputRespond,
    ListCheckpoints,
    OfRun,
    Overrides,
    RunStart,
    StateFork,
    StateGet,
    parsed,
)
from spool.protocols.event_streaming.snapshots import Standing, standing
from spool.protocols.event_streaming.trees import tree_of
from spool.runs import lifecycle
from spool.runs.models import Run
from spool.runs.requests import allow_run
from spool.runs.run_request import RunRequest
from spool.runs.serializers import parse_run_request
from spool.runs.services import ThreadNotFound, create_run
from spool.runs.streaming.events import newest_seq
from spool.threads import state
from spool.threads.models import Thread
from spool.threads.thread_request import CheckpointRef
from spool.web.errors import NotFound

# The stream modes of runs that the protocol starts; it changes the form of the events.
STREAM_MODES = (
    *("values", "updates", "messages", "tools"),
    *("lifecycle", "custom", "tasks", "checkpoints"),
)


@dataclass(frozen=True)
class Conversation:
    """The caller of commands, and the thread that they are for."""

    request: Request | HttpRequest
    thread_id: UUID

    @cached_property
    def standing(self) -> Standing | None:
        """Where the thread stands, if the caller may see it. Cached for one command."""
        try:
            allowed = authorize(
                self.request, "threads.read", {"thread_id": self.thread_id}
            )
        except PermissionDenied:
            return None
        return standing(self.thread_id, allowed.scope)

    def thread(self, event: str = "threads.read") -> Thread:
        """The thread, if the caller may see it."""
        allowed = authorize(self.request, event, {"thread_id": self.thread_id})
        visible = Thread.objects.visible_to(allowed.scope).filter(pk=self.thread_id)
        if thread := visible.first():
            return thread
        raise Refusal("no_such_run", f"Thread with ID {self.thread_id} not found")

    def start(self, run_request: RunRequest, *, creates_thread: bool = False) -> Run:
        run_request = replace(
            run_request,
            if_not_exists="create" if creates_thread else "reject",
            stream_mode=list(STREAM_MODES),
            stream_subgraphs=True,
            stream_resumable=True,
            is_event_streaming=True,
        )
        return create_run(allow_run(self.request, run_request, self.thread_id))


def answered(conversation: Conversation, command: Command) -> dict[str, Any]:
    """The response to a command, either its result or an error."""
    conversation = replace(conversation)
    # Read it before the command starts a run: the run's events come later.
    through = newest_seq(conversation.thread_id) if conversation.standing else 0
    try:
        result = executed(conversation, command)
    except Refusal as exc:
        return refused(command.id, exc)
    return {
        "type": "success",
        "id": command.id,
        "result": result,
        "meta": {"applied_through_seq": through},
    }


def refused(command_id: int | None, refusal: Refusal) -> dict[str, Any]:
    return {
        "type": "error",
        "id": command_id,
        "error": refusal.code,
        "message": str(refusal),
    }


def executed(conversation: Conversation, command: Command) -> Any:
    """The result of a command. Raises `Refusal`."""
    method = METHODS.get(command.method)
    if method is None:
        raise Refusal("unknown_command", f"Unknown command: {command.method}")
    try:
        return method(conversation, command.params)
    except Refusal:
        raise
    except APIException as exc:
        if exc.status_code in (401, 429, 503):  # About the request, not the command.
            raise
        raise refusal_of(exc) from None


# --- Runs -------------------------------------------------------------------------------
def run_start(conversation: Conversation, params: Any) -> Any:
    """Start a run, or resume the thread where it waits for an answer.

    Clients without a word for resuming (`RemoteGraph`) send the answer as the input.
    """
    wanted = parsed(RunStart, params)
    run_request = parse_run_request(wanted.model_dump(exclude_none=True))
    forks = (wanted.config.get("configurable") or {}).get("checkpoint_id")
    if wanted.input is not None and not forks and _is_paused(conversation):
        command = {"resume": wanted.input}
        run_request = replace(run_request, input=None, command=command)
    run = conversation.start(run_request, creates_thread=True)
    return {"run_id": str(run.id)}


def _is_paused(conversation: Conversation) -> bool:
    """Whether the thread waits for an answer, if the caller may see it."""
    found = conversation.standing
    if found is None or found.is_busy or not found.is_paused:
        return False
    return bool(conversation.thread().interrupts)


@transaction.atomic
def input_respond(conversation: Conversation, params: Any) -> Any:
    """Resume a run with answers to some of its interrupts, each answered once."""
    wanted = parsed(InputRespond, params)
    lifecycle.lock_thread(conversation.thread_id)
    thread = conversation.thread()
    waiting = _waiting_interrupts(thread)
    for answer in wanted.responses:
        if answer.interrupt_id not in waiting:
            message = f"Interrupt {answer.interrupt_id!r} is not open"
            raise Refusal("no_such_interrupt", message)
    resume = {one.interrupt_id: one.response for one in wanted.responses}
    command = {"resume": resume, "update": wanted.update, "goto": wanted.goto}
    body = {
        **_continued(thread, wanted),
        "command": command,
        "strict_resume": wanted.strict_resume,
    }
    conversation.start(parse_run_request(body))
    return {}


def _waiting_interrupts(thread: Thread) -> set[str]:
    """The ids of the interrupts that no active run answers."""
    interrupts = (thread.ordered_interrupts or {}).values()
    waiting = {one["id"] for several in interrupts for one in several}
    for run in thread.runs.active().only("kwargs", "given"):
        resume = (run.kwargs.get("command") or {}).get("resume")
        waiting -= set(resume) if isinstance(resume, dict) else set()
    return waiting


def _continued(thread: Thread, overrides: Overrides) -> dict[str, Any]:
    """The body of a run that continues the newest run: its config with `overrides`."""
    newest = thread.runs.newest_first().first()
    before: dict[str, Any] = newest.kwargs if newest else {}
    config = before.get("config") or {}
    points = ("checkpoint_id", "checkpoint_ns", "checkpoint_map")
    configurable = {
        name: value
        for name, value in (config.get("configurable") or {}).items()
        if name not in points
    }
    own = overrides.config.get("configurable") or {}
    merged = {**config, **overrides.config, "configurable": {**configurable, **own}}
    body: dict[str, Any] = {
        "assistant_id": _assistant_of(thread, newest),
        "config": merged,
        "metadata": overrides.metadata,
    }
    if context := before.get("context"):
        # The old configurable repeats the context, and could contradict the new one.
        body["context"] = context
        merged["configurable"] = own
    if not merged["configurable"]:
        del merged["configurable"]
    return body


def _assistant_of(thread: Thread, newest: Run | None) -> str:
    named = newest.assistant_id if newest else thread.metadata.get("assistant_id")
    named = named or thread.metadata.get("graph_id")
    if not named:
        raise Refusal("no_such_run", "No run has been started on this thread")
    return str(named)


def input_inject(conversation: Conversation, params: Any) -> Any:
    raise Refusal(
        "not_supported", "LangGraph runs do not accept input while they are running"
    )


def agent_get_tree(conversation: Conversation, params: Any) -> Any:
    wanted = parsed(OfRun, params)
    runs = conversation.thread().runs.newest_first()
    if wanted.run_id is None:
        run = runs.active().first()
    else:
        run = next((one for one in runs if str(one.id) == wanted.run_id), None)
    if run is None:
        raise Refusal("no_such_run", "The run does not exist, or is not active")
    return {"tree": tree_of(run)}


# --- State ------------------------------------------------------------------------------
def state_get(conversation: Conversation, params: Any) -> Any:
    wanted = parsed(StateGet, params)
    checkpoint = CheckpointRef(wanted.checkpoint_id, "|".join(wanted.namespace))
    snapshot = state.get_state(conversation.thread(), checkpoint=checkpoint)
    if not checkpoint.is_newest and not snapshot.created_at:
        if checkpoint.id:
            raise Refusal("no_such_checkpoint", "Unknown checkpoint")
        raise Refusal("no_such_namespace", "Unknown namespace")
    values = snapshot.values
    if wanted.keys is not None and isinstance(values, dict):
        values = {name: values[name] for name in wanted.keys if name in values}
    found: dict[str, Any] = {"values": written(values)}
    configurable = snapshot.config.get("configurable", {})
    if checkpoint_id := configurable.get("checkpoint_id"):
        found["checkpoint"] = {"id": checkpoint_id}
        if namespace := configurable.get("checkpoint_ns"):
            found["checkpoint"]["ns"] = namespace
    return found


def state_list_checkpoints(conversation: Conversation, params: Any) -> Any:
    wanted = parsed(ListCheckpoints, params)
    snapshots = state.get_history(
        conversation.thread(),
        limit=wanted.limit,
        before=wanted.before or None,
        checkpoint=CheckpointRef(namespace="|".join(wanted.namespace)),
    )
    return {
        "checkpoints": [
            {
                "id": snapshot.config["configurable"]["checkpoint_id"],
                "timestamp": snapshot.created_at,
                "step": (snapshot.metadata or {}).get("step", -1),
                "metadata": snapshot.metadata or {},
            }
            for snapshot in snapshots
        ]
    }


def state_fork(conversation: Conversation, params: Any) -> Any:
    """Start a run from a checkpoint: with an input, or with what followed there."""
    wanted = parsed(StateFork, params)
    thread = conversation.thread()
    body = {
        **_continued(thread, wanted),
        "input": wanted.input,
        "checkpoint": {"checkpoint_id": wanted.checkpoint_id},
    }
    run_request = parse_run_request(body)
    try:
        run = conversation.start(run_request)
    except ThreadNotFound:
        raise
    except NotFound as exc:
        raise Refusal("no_such_checkpoint", str(exc.detail)) from None
    return {"run_id": str(run.id), "thread_id": str(thread.id)}


def only_on_a_connection(conversation: Conversation, params: Any) -> Any:
    """Refuse it: over HTTP, a subscription is a request of its own."""
    message = "Subscription commands need a WebSocket: use POST …/stream/events"
    raise Refusal("not_supported", message)


METHODS: dict[str, Callable[[Conversation, Any], Any]] = {
    "run.start": run_start,
    "input.respond": input_respond,
    "input.inject": input_inject,
    "agent.getTree": agent_get_tree,
    "state.get": state_get,
    "state.listCheckpoints": state_list_checkpoints,
    "state.fork": state_fork,
    "subscription.subscribe": only_on_a_connection,
    "subscription.unsubscribe": only_on_a_connection,
    "subscription.reconnect": only_on_a_connection,
}
