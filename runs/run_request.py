"""A request for a run, as it is passed from the serializers to the worker.

`RunRequest` is what a client sent, validated. `AllowedRun` is the same once the policy
has allowed it, with the rows that the run may use. `RunKwargs` is the stored part: the
run's `kwargs`, which the wire shows and the worker reads.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Self
from uuid import UUID

from spool.access.scope import Scope
from spool.database.ids import uuid7
from spool.runs.models import Run

# Node names, or "*" for all nodes.
Breakpoints = str | Sequence[str] | None


@dataclass(frozen=True, slots=True)
class RunRequest:
    """The request of a client. `RunRequestSerializer` has the same defaults."""

    assistant_id: str
    input: Any = None
    command: Mapping[str, Any] | None = None
    config: Mapping[str, Any] = field(default_factory=dict)
    context: Mapping[str, Any] = field(default_factory=dict)
    metadata: Mapping[str, Any] = field(default_factory=dict)
    checkpoint: Mapping[str, Any] | None = None
    checkpoint_id: UUID | None = None
    interrupt_before: Breakpoints = None
    interrupt_after: Breakpoints = None
    stream_mode: Sequence[str] = ("values",)
    stream_subgraphs: bool = False
    stream_resumable: bool = False
    feedback_keys: Sequence[str] | None = None
    multitask_strategy: str = Run.MultitaskStrategy.ENQUEUE
    if_not_exists: str = "reject"
    on_completion: str = "delete"
    on_disconnect: str = "continue"
    after_seconds: float = 0
    webhook: str | None = None
    durability: str = "async"
    langsmith_tracer: Mapping[str, str] | None = None
    strict_resume: bool = False

    # The fields below are set by the server.
    # Event streaming started the run, so the run publishes the events of that protocol.
    is_event_streaming: bool = False
    # The run is cancelled when the client that waits for it disconnects.
    ends_with_client: bool = False
    # Keys for `configurable` that are not the client's: headers of the request, as
    # configured by the operator, and what the policy added.
    added_configurable: Mapping[str, Any] = field(default_factory=dict)
    request_id: str | None = None
    # The address of the web process that waits for the run's events.
    reply_to: str | None = None
    # The cron that creates the run.
    cron_id: UUID | None = None

    @property
    def resumes(self) -> bool:
        """Whether the run answers an interrupt."""
        return (self.command or {}).get("resume") is not None

    @property
    def creates_thread(self) -> bool:
        """Whether a thread that does not exist is created."""
        return self.if_not_exists == "create"


# The fields of a request that clients set.
CLIENT_FIELDS = tuple(
    one.name
    for one in fields(RunRequest)
    if one.name
    not in (
        *("is_event_streaming", "ends_with_client", "added_configurable"),
        *("request_id", "reply_to", "cron_id"),
    )
)


@dataclass(frozen=True, slots=True)
class AllowedRun:
    """A run that the policy allows. Without `thread_id` it gets a new thread."""

    request: RunRequest
    scope: Scope
    thread_id: UUID | None = None
    # The caller's scope for assistants, where it differs.
    assistants: Scope | None = None
    run_id: UUID = field(default_factory=uuid7)
    # The first run of the A2A task that the run begins or continues.
    first_run_id: UUID | None = None
    run_class: str = Run.RunClass.BACKGROUND


@dataclass(frozen=True, slots=True)
class RunKwargs:
    """A run's `kwargs`. Defaults are for rows that another version has written."""

    input: Any = None
    command: Mapping[str, Any] | None = None
    config: Mapping[str, Any] = field(default_factory=dict)
    context: Mapping[str, Any] = field(default_factory=dict)
    stream_mode: Sequence[str] = ("values",)
    interrupt_before: Breakpoints = None
    interrupt_after: Breakpoints = None
    webhook: str | None = None
    feedback_keys: Sequence[str] | None = None
    temporary: bool = False
    subgraphs: bool = False
    resumable: bool = False
    durability: str = "async"
    langsmith_tracer: Mapping[str, str] | None = None
    strict_resume: bool = False
    is_event_streaming: bool = False
    ends_with_client: bool = False
    reply_to: str | None = None

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Self:
        known = {name: stored[name] for name in _STORED if name in stored}
        return cls(
            **known,
            is_event_streaming=bool(stored.get("event_streaming")),
            ends_with_client="on_disconnect" in stored,
        )

    def as_json(self) -> dict[str, Any]:
        """The stored `kwargs`. Some keys are only included if they were given.

        The wire shows all keys except `INTERNAL`.
        """
        kwargs = {name: getattr(self, name) for name in _ALWAYS_STORED}
        kwargs["checkpoint_during"] = self.durability != "exit"
        for name in _STORED_IF_GIVEN:
            if value := getattr(self, name):
                kwargs[name] = value
        if self.is_event_streaming:
            kwargs["event_streaming"] = True
        if self.ends_with_client:
            kwargs["on_disconnect"] = "cancel"
        return kwargs

    def as_columns(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """The values of the columns `given` and `kwargs`, in this order."""
        kwargs = self.as_json()
        return {name: kwargs.pop(name) for name in SEEN_BY_NODES}, kwargs

    @property
    def checkpoint_id(self) -> str | None:
        """The checkpoint that the run continues from, if it names one."""
        found = (self.config.get("configurable") or {}).get("checkpoint_id")
        return str(found) if found else None


SEEN_BY_NODES = ("input", "command", "config", "context")
# The stored key that the wire does not show.
INTERNAL = "reply_to"
_STORED_IF_GIVEN = ("langsmith_tracer", "strict_resume", INTERNAL)
_STORED = tuple(
    one.name
    for one in fields(RunKwargs)
    if one.name not in ("is_event_streaming", "ends_with_client")
)
_ALWAYS_STORED = tuple(name for name in _STORED if name not in _STORED_IF_GIVEN)
