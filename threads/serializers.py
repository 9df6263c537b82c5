"""The wire's names and shapes for threads and their state."""

from __future__ import annotations

import re
from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from spool.config.langgraph_schema import MAX_MINUTES
from spool.database.json import clean_text, moment
from spool.threads.models import Thread
from spool.threads.thread_request import CheckpointRef
from spool.threads.ttl import TTL
from spool.web.bodies import Body
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

# The fields that a search may select, and their columns.
COLUMNS = {
    "thread_id": "id",
    "created_at": "created_at",
    "updated_at": "updated_at",
    "state_updated_at": "state_updated_at",
    "metadata": "metadata",
    "config": "config",
    "status": "status",
    "values": "values",
    "interrupts": "interrupts",
    "error": "error",
}
SORTABLE = ("thread_id", "status", "created_at", "updated_at", "state_updated_at")
EXTRACTABLE = ("values", "metadata", "config", "interrupts")

_STEP = re.compile(r"\.([^.\[\]]+)|\[(-?\d{1,9})\]")


def thread_json(thread: Thread) -> dict[str, Any]:
    """The body of a thread.

    As in the official server, `interrupts` and `error` appear once a run has ended.
    """
    row = {
        "thread_id": thread.id,
        "created_at": moment(thread.created_at),
        "updated_at": moment(thread.updated_at),
        "state_updated_at": moment(thread.state_updated_at),
        "metadata": thread.metadata,
        "status": thread.status,
        "config": thread.config,
        "values": thread.values,
    }
    if thread.interrupts is not None or thread.error is not None:
        row |= {"interrupts": thread.ordered_interrupts or {}, "error": thread.error}
    return row


def selected_json(thread: Thread, names: list[str]) -> dict[str, Any]:
    row = {name: getattr(thread, COLUMNS[name]) for name in names}
    if "interrupts" in row:
        row["interrupts"] = thread.ordered_interrupts
    times = {name for name in row if name.endswith("_at")}
    return row | {name: moment(row[name]) for name in times}


def extracted(thread: Thread, paths: dict[str, str]) -> dict[str, Any]:
    return {alias: _at(thread, path) for alias, path in paths.items()}


def root_of(path: str) -> str:
    return re.split(r"[.\[]", path, maxsplit=1)[0]


def _at(thread: Thread, path: str) -> Any:
    """The value at a path like `values.a.b[0]`; None if there is no such value."""
    root = root_of(path)
    found = getattr(thread, root)
    for key, index in _STEP.findall(path[len(root) :]):
        if not isinstance(found, dict if key else list):
            return None
        try:
            found = found[key or int(index)]
        except (KeyError, IndexError):
            return None
    return found


class TTLField(Object):
    """`{"ttl": minutes, "strategy": "delete" | "keep_latest"}`."""

    def to_internal_value(self, data: Any) -> Any:
        given: dict[str, Any] = super().to_internal_value(data)
        minutes = given.get("ttl")
        if isinstance(minutes, bool) or not isinstance(minutes, (int, float)):
            raise serializers.ValidationError("ttl must be a number of minutes")
        if not 0 < minutes <= MAX_MINUTES:
            raise serializers.ValidationError(
                "ttl must be positive, and less than a thousand years"
            )
        if given.get("strategy", "delete") not in Thread.TTLStrategy.values:
            raise serializers.ValidationError("strategy must be delete or keep_latest")
        return TTL(minutes, given.get("strategy", "delete"))


@extend_schema_field(
    {
        "type": "array",
        "items": {
            "type": "object",
            "properties": {"updates": {"type": "array", "items": {"type": "object"}}},
            "required": ["updates"],
        },
    }
)
class SuperstepsField(serializers.Field[Any, Any, Any, Any]):
    """`[{"updates": [{"values", "command", "as_node"}]}]`."""

    def to_internal_value(self, data: Any) -> list[list[dict[str, Any]]]:
        steps: list[Any] = data if isinstance(data, list) else [None]
        for step in steps:
            updates = step.get("updates") if isinstance(step, dict) else None
            if not isinstance(updates, list) or not all(map(_is_update, updates)):
                raise serializers.ValidationError(
                    "must be a list of objects with a list of updates: objects with "
                    "values (or a command) and as_node"
                )
        return [step["updates"] for step in steps]

    def to_representation(self, value: Any) -> Any:
        return value


def _is_update(update: Any) -> bool:
    if not isinstance(update, dict):
        return False
    return (
        isinstance(update.get("values"), (dict, list, type(None)))
        and isinstance(update.get("command"), (dict, type(None)))
        and isinstance(update.get("as_node"), (str, type(None)))
    )


class ThreadCreate(Body):
    thread_id = UUIDText(required=False, allow_null=True, default=None)
    metadata = Metadata(required=False, allow_null=True, default=dict)
    if_exists = serializers.ChoiceField(
        choices=["raise", "do_nothing"],
        required=False,
        allow_null=True,
        default="raise",
    )
    ttl = TTLField(required=False, allow_null=True, default=None)
    supersteps = SuperstepsField(required=False, allow_null=True, default=None)


class ThreadUpdate(Body):
    metadata = Metadata(required=False, allow_null=True, default=dict)
    ttl = TTLField(required=False, allow_null=True, default=None)


class ThreadFilter(Body):
    metadata = Object(required=False, allow_null=True, default=dict)
    values = Object(required=False, allow_null=True, default=dict)
    status = serializers.ChoiceField(
        choices=Thread.Status.choices, required=False, allow_null=True, default=None
    )


class ExtractField(Object):
    def to_internal_value(self, data: Any) -> Any:
        paths = super().to_internal_value(data)
        for alias, path in paths.items():
            root = root_of(path) if isinstance(path, str) else ""
            if root not in EXTRACTABLE:
                raise serializers.ValidationError(
                    f"{alias}: a path must start with one of {', '.join(EXTRACTABLE)}"
                )
            if _STEP.sub("", path[len(root) :]):
                raise serializers.ValidationError(f"{alias}: {path!r} is not a path")
        return paths


class ThreadSearch(ThreadFilter):
    # Checked by the view: a bad id is a 400 here.
    ids = serializers.ListField(
        child=Text(), required=False, allow_null=True, default=list
    )
    limit = serializers.IntegerField(
        required=False, allow_null=True, default=10, min_value=1, max_value=1000
    )
    offset = serializers.IntegerField(
        required=False, allow_null=True, default=0, min_value=0, max_value=2**31
    )
    sort_by = serializers.ChoiceField(
        choices=SORTABLE, required=False, allow_null=True, default="updated_at"
    )
    sort_order = serializers.ChoiceField(
        choices=["asc", "desc"], required=False, allow_null=True, default="desc"
    )
    select = StringOrList(
        choices=tuple(COLUMNS), required=False, allow_null=True, default=list
    )
    extract = ExtractField(required=False, allow_null=True, default=dict)


@extend_schema_field(
    object_schema(
        checkpoint_id={"type": "string"},
        checkpoint_ns={"type": "string"},
        checkpoint_map={"type": "object", "additionalProperties": {}},
    )
)
class CheckpointField(Object):
    """`{"checkpoint_id", "checkpoint_ns", "checkpoint_map"}`, each of them optional."""

    def to_internal_value(self, data: Any) -> Any:
        given = super().to_internal_value(data)
        for key, kind in CHECKPOINT_KINDS.items():
            if not isinstance(given.get(key), (kind, type(None))):
                raise serializers.ValidationError(f"{key}: has the wrong type")
        return CheckpointRef(
            id=given.get("checkpoint_id"),
            namespace=given.get("checkpoint_ns"),
            map=given.get("checkpoint_map"),
        )


CHECKPOINT_KINDS = {"checkpoint_id": str, "checkpoint_ns": str, "checkpoint_map": dict}


class StateUpdateBody(Body):
    values = AnyJSON(required=False, allow_null=True, default=None)
    as_node = Text(required=False, allow_null=True, default=None)
    checkpoint = CheckpointField(required=False, allow_null=True, default=None)
    checkpoint_id = Text(required=False, allow_null=True, default=None)

    def validate_values(self, values: Any) -> Any:
        if not isinstance(values, (dict, list, type(None))):
            raise serializers.ValidationError("must be an object, a list or null")
        return values


@extend_schema_field({"oneOf": [{"type": "string"}, {"type": "object"}]})
class BeforeField(serializers.Field[Any, Any, Any, Any]):
    """A checkpoint id, a checkpoint, or `{"configurable": checkpoint}`."""

    def to_internal_value(self, data: Any) -> str:
        found = data
        if isinstance(data, dict):
            flat = data.get("configurable", data)
            found = flat.get("checkpoint_id") if isinstance(flat, dict) else None
        if not isinstance(found, str):
            raise serializers.ValidationError(
                "must be a checkpoint id, or an object with checkpoint_id"
            )
        return clean_text(found)

    def to_representation(self, value: Any) -> Any:
        return value


class StateQuery(serializers.Serializer[Any]):
    subgraphs = serializers.BooleanField(default=False)
    select = QueryList(default=list)


class HistoryQuery(serializers.Serializer[Any]):
    limit = Capped(default=None, min_value=1)
    before = BeforeField(default=None)
    select = QueryList(default=list)


class HistoryBody(Body):
    limit = serializers.IntegerField(
        required=False, allow_null=True, default=None, min_value=1, max_value=1000
    )
    before = BeforeField(required=False, allow_null=True, default=None)
    metadata = Object(required=False, allow_null=True, default=None)
    checkpoint = CheckpointField(required=False, allow_null=True, default=None)
    select = StringOrList(required=False, allow_null=True, default=list)


class CheckpointStateBody(Body):
    checkpoint = CheckpointField()
    subgraphs = serializers.BooleanField(required=False, allow_null=True, default=False)
    select = StringOrList(required=False, allow_null=True, default=list)


class Prune(Body):
    thread_ids = serializers.ListField(child=UUIDText())
    strategy = serializers.ChoiceField(
        choices=Thread.TTLStrategy.choices,
        required=False,
        allow_null=True,
        default=Thread.TTLStrategy.DELETE,
    )
