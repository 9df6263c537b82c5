"""The wire's names and shapes for runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from types import NoneType
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from spool.assistants.serializers import ConfigField
from spool.database.json import moment
from spool.runs.models import Run
from spool.runs.run_request import CLIENT_FIELDS, INTERNAL, RunRequest
from spool.web.answers import selectable
from spool.web.bodies import LargeBody, valid
from spool.web.errors import BadRequest
from spool.web.fields import (
    AnyJSON,
    Capped,
    Metadata,
    Object,
    QueryList,
    StringOrList,
    Text,
    UUIDText,
    object_schema,
)

STREAM_MODES = (
    "values",
    "messages",
    "messages-tuple",
    "tasks",
    "checkpoints",
    "updates",
    "events",
    "debug",
    "custom",
)

# The JSON schema of one `goto` of a command.
NODE = {
    "oneOf": [
        {"type": "string"},
        {
            "type": "object",
            "properties": {"node": {"type": "string"}, "input": {}},
            "required": ["node"],
            "additionalProperties": {},
        },
    ]
}

THREAD_STREAM_MODES = ("run_modes", "lifecycle", "state_update")


# The fields that a list may select, and their columns.
COLUMNS = {
    "run_id": "id",
    "thread_id": "thread_id",
    "assistant_id": "assistant_id",
    "metadata": "metadata",
    "status": "status",
    "kwargs": "kwargs",
    "multitask_strategy": "multitask_strategy",
    "created_at": "created_at",
    "updated_at": "updated_at",
    "langsmith_session_name": "kwargs",
    "cancel_reason": "cancel_reason",
}


TIMES = ("created_at", "updated_at")


def run_json(run: Run, names: Iterable[str] = COLUMNS) -> dict[str, Any]:
    """A run as the wire shows it, or only the fields `names`.

    The full form has a `cancel_reason` only if the run was stopped, since older
    versions of the official server have no such key.
    """
    row = shown(partial(getattr, run), names)
    return row | {name: moment(row[name]) for name in TIMES if name in row}


def shown(
    column: Callable[[str], Any], names: Iterable[str] = COLUMNS
) -> dict[str, Any]:
    """As `run_json`, given a function that returns a column. Times stay unchanged."""
    if names is COLUMNS and column("cancel_reason") is None:
        names = [name for name in COLUMNS if name != "cancel_reason"]
    row = {name: column(COLUMNS[name]) for name in names}
    if "langsmith_session_name" in row:
        tracer = row["langsmith_session_name"].get("langsmith_tracer", {})
        row["langsmith_session_name"] = tracer.get("project_name")
    if INTERNAL in row.get("kwargs", ()):
        row["kwargs"] = {k: v for k, v in row["kwargs"].items() if k != INTERNAL}
    return row


class NodeNames(StringOrList):
    """`"*"` for all nodes, or a list of names."""

    def to_internal_value(self, data: Any) -> Any:
        if data == "*":
            return data
        if isinstance(data, str):
            raise serializers.ValidationError('must be "*" or a list of node names')
        return super().to_internal_value(data)


@extend_schema_field(
    object_schema(
        goto={"oneOf": [NODE, {"type": "array", "items": NODE}]}, update={}, resume={}
    )
)
class CommandField(Object):
    """How to continue: with an answer to an interrupt, an update, or at other nodes."""

    def to_internal_value(self, data: Any) -> Any:
        # Ignore other keys, such as those of the JavaScript library's `Command`.
        command = super().to_internal_value(data)
        command = {k: command[k] for k in ("update", "resume", "goto") if k in command}
        for send in _sends(command.get("goto")):
            if not isinstance(send, str) and not (
                isinstance(send, dict) and isinstance(send.get("node"), str)
            ):
                raise serializers.ValidationError(
                    "goto must name a node, or be {node, input}, or a list of those"
                )
        # Null means the same as a missing key, here too.
        return {key: value for key, value in command.items() if value is not None}


def _sends(goto: Any) -> list[Any]:
    if goto is None:
        return []
    return goto if isinstance(goto, list) else [goto]


@extend_schema_field(
    object_schema(
        thread_id={"type": "string"},
        checkpoint_ns={"type": "string"},
        checkpoint_id={"type": "string", "format": "uuid"},
        checkpoint_map={"type": "object", "additionalProperties": {}},
    )
)
class CheckpointField(Object):
    """The checkpoint to continue from, as a thread's state names it."""

    def to_internal_value(self, data: Any) -> Any:
        checkpoint = super().to_internal_value(data)
        for key in ("checkpoint_id", "checkpoint_ns", "thread_id"):
            if not isinstance(checkpoint.get(key), (str, NoneType)):
                raise serializers.ValidationError(f"{key} must be a string")
        if not isinstance(checkpoint.get("checkpoint_map"), (dict, NoneType)):
            raise serializers.ValidationError("checkpoint_map must be an object")
        if checkpoint_id := checkpoint.get("checkpoint_id"):
            try:
                UUID(checkpoint_id)
            except ValueError:
                raise serializers.ValidationError("Invalid checkpoint ID") from None
        return checkpoint


class Tracing(serializers.Serializer[Any]):
    """Where LangSmith is to file the trace."""

    project_name = Text(required=False, allow_null=True)
    example_id = UUIDText(required=False, allow_null=True)

    def to_internal_value(self, data: Any) -> Any:
        parsed = super().to_internal_value(data)
        return {key: str(value) for key, value in parsed.items() if value is not None}


class RunRequestSerializer(LargeBody):
    """The body of every request that creates a run."""

    assistant_id = Text()
    input = AnyJSON(required=False, allow_null=True, default=None)
    command = CommandField(required=False, allow_null=True, default=None)
    config = ConfigField(required=False, allow_null=True, default=dict)
    # Serializers have a property `context`; declared fields are removed from the class.
    context = Object(  # type: ignore[assignment]
        required=False, allow_null=True, default=dict
    )
    metadata = Metadata(required=False, allow_null=True, default=dict)
    checkpoint = CheckpointField(required=False, allow_null=True, default=None)
    checkpoint_id = UUIDText(
        required=False,
        allow_null=True,
        default=None,
        error_messages={"invalid": "Invalid checkpoint ID"},
    )
    interrupt_before = NodeNames(required=False, allow_null=True, default=None)
    interrupt_after = NodeNames(required=False, allow_null=True, default=None)
    stream_mode = StringOrList(
        choices=STREAM_MODES,
        required=False,
        allow_null=True,
        default=lambda: ["values"],
    )
    stream_subgraphs = serializers.BooleanField(required=False, default=False)
    stream_resumable = serializers.BooleanField(required=False, default=False)
    feedback_keys = serializers.ListField(
        child=Text(), required=False, allow_null=True, default=None
    )
    multitask_strategy = serializers.ChoiceField(
        choices=Run.MultitaskStrategy.choices,
        required=False,
        allow_null=True,
        default=Run.MultitaskStrategy.ENQUEUE,
    )
    if_not_exists = serializers.ChoiceField(
        choices=["create", "reject"], required=False, allow_null=True, default="reject"
    )
    on_completion = serializers.ChoiceField(
        choices=["delete", "keep"], required=False, allow_null=True, default="delete"
    )
    on_disconnect = serializers.ChoiceField(
        choices=["continue", "cancel"],
        required=False,
        allow_null=True,
        default="continue",
    )
    after_seconds = serializers.FloatField(
        required=False,
        allow_null=True,
        default=0,
        min_value=0,
        max_value=10 * 365 * 86400,
    )
    webhook = Text(required=False, allow_null=True, default=None, max_length=65536)
    durability = serializers.ChoiceField(
        choices=["sync", "async", "exit"], required=False, allow_null=True, default=None
    )
    checkpoint_during = serializers.BooleanField(
        required=False, allow_null=True, default=None
    )
    langsmith_tracer = Tracing(required=False, allow_null=True, default=None)
    strict_resume = serializers.BooleanField(
        required=False, allow_null=True, default=False
    )

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """Convert `checkpoint_during`, the older form of `durability`."""
        # `useStream` requests no modes until a component has read something.
        attrs["stream_mode"] = attrs["stream_mode"] or ["values"]
        if attrs["durability"] is None:
            exits = attrs["checkpoint_during"] is False
            attrs["durability"] = "exit" if exits else "async"
        return attrs


def parse_run_request(body: Any) -> RunRequest:
    """Validate the body of a request for a run. Raises 422, naming each bad field."""
    return run_request_of(valid(RunRequestSerializer, body))


def run_request_of(validated: Mapping[str, Any]) -> RunRequest:
    """The request for a run, from the validated data of a `RunRequestSerializer`."""
    return RunRequest(**{name: validated[name] for name in CLIENT_FIELDS})


class RunBody(serializers.Serializer[Any]):
    """A run as the wire shows it; `run_json` makes it."""

    run_id = serializers.UUIDField()
    thread_id = serializers.UUIDField()
    assistant_id = serializers.UUIDField()
    metadata = Object()
    status = serializers.ChoiceField(choices=Run.Status.choices)
    kwargs = Object()
    multitask_strategy = serializers.ChoiceField(choices=Run.MultitaskStrategy.choices)
    created_at = serializers.DateTimeField()
    updated_at = serializers.DateTimeField()
    langsmith_session_name = serializers.CharField(allow_null=True)
    cancel_reason = serializers.CharField(required=False, allow_null=True)


# The answer of `wait` and `join`.
OUTPUT = {
    "description": "The output of the graph, usually an object. If the run was "
    "interrupted it has `__interrupt__`; if it failed, it is `__error__` alone.",
    "anyOf": [
        {
            "type": "object",
            "nullable": True,
            "properties": {
                "__error__": {"$ref": "#/components/schemas/FailureBody"},
                "__interrupt__": {
                    "type": "array",
                    "items": {"$ref": "#/components/schemas/InterruptBody"},
                },
            },
            "additionalProperties": {},
        },
        {"type": "array", "items": {}},
        {"type": "string"},
        {"type": "number"},
        {"type": "boolean"},
    ],
}
NOTHING = {"type": "object", "maxProperties": 0}


class Limit(Capped):
    """The limit of a list: the official server refuses a bad one with 400, not 422."""

    def to_internal_value(self, data: Any) -> int:
        try:
            return int(super().to_internal_value(data))
        except serializers.ValidationError:
            raise BadRequest("limit: must be a whole number") from None


RUN = selectable(RunBody)


class RunListQuery(serializers.Serializer[Any]):
    limit = Limit(default=10, min_value=0)
    offset = serializers.IntegerField(default=0, min_value=0, max_value=2**31)
    status = serializers.CharField(default="", allow_blank=True)
    select = QueryList(choices=tuple(RunBody().fields), required=False, default=None)


def _again(**options: list[str]) -> str:
    """The query of a `Location`: clients that reconnect to it add no parameters."""
    query = urlencode({name: given for name, given in options.items() if given}, True)
    return f"?{query}" if query else ""


class StreamQuery(serializers.Serializer[Any]):
    stream_mode = QueryList(required=False, default=None)
    cancel_on_disconnect = serializers.BooleanField(default=False)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """`modes` are names of events: both forms of messages have the same name."""
        cancels = ["true"] if attrs["cancel_on_disconnect"] else []
        modes = attrs["stream_mode"]
        again = _again(stream_mode=sorted(modes or ()), cancel_on_disconnect=cancels)
        in_chunks = modes is not None and "messages-tuple" in modes
        if modes is not None:
            modes = {"messages" if mode == "messages-tuple" else mode for mode in modes}
        return {**attrs, "modes": modes, "in_chunks": in_chunks, "again": again}


class ThreadStreamQuery(serializers.Serializer[Any]):
    """Accepts two names: the official server reads one, its clients send the other."""

    stream_mode = QueryList(required=False, default=list)
    stream_modes = QueryList(required=False, default=list)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        modes = [*attrs["stream_mode"], *attrs["stream_modes"]] or ["run_modes"]
        for mode in modes:
            if mode not in THREAD_STREAM_MODES:
                raise serializers.ValidationError(f"Invalid stream mode: {mode}")
        return {"modes": frozenset(modes), "again": _again(stream_modes=sorted(modes))}


class BulkCancel(serializers.Serializer[Any]):
    """Either a status, or a thread and some of its runs."""

    status = serializers.ChoiceField(
        choices=["pending", "running", "all"], required=False, default=None
    )
    thread_id = UUIDText(required=False, default=None)
    run_ids = serializers.ListField(child=UUIDText(), required=False, default=None)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        by_id = attrs["thread_id"] is not None or attrs["run_ids"] is not None
        if by_id and (attrs["status"] or not (attrs["thread_id"] and attrs["run_ids"])):
            raise serializers.ValidationError(
                "must have either status, or thread_id with run_ids"
            )
        if not by_id and not attrs["status"]:
            raise serializers.ValidationError("status is required without run_ids")
        return attrs
