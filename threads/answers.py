"""The shapes of responses about threads and their state, for `/openapi.json`."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from spool.assistants.serializers import Config
from spool.threads.models import Thread
from spool.web.answers import (
    CheckpointBody,
    FailureBody,
    InterruptBody,
    selectable,
    selection,
)
from spool.web.fields import AnyJSON, Object


class TTLBody(serializers.Serializer[Any]):
    strategy = serializers.ChoiceField(choices=Thread.TTLStrategy.choices)
    ttl_minutes = serializers.FloatField()
    expires_at = serializers.DateTimeField(allow_null=True)


class ThreadBody(serializers.Serializer[Any]):
    """A thread as the wire shows it; `thread_json` makes it."""

    thread_id = serializers.UUIDField()
    created_at = serializers.DateTimeField()
    updated_at = serializers.DateTimeField()
    state_updated_at = serializers.DateTimeField()
    metadata = Object()
    status = serializers.ChoiceField(choices=Thread.Status.choices)
    config = Config()
    values = AnyJSON(allow_null=True)
    interrupts = serializers.DictField(
        child=InterruptBody(many=True), required=False, help_text="By task"
    )
    error = FailureBody(required=False, allow_null=True)
    ttl = TTLBody(required=False, allow_null=True, help_text="With `include=ttl`")


class CopiedThreadBody(ThreadBody):
    values = None  # type: ignore[assignment]


class FoundThreadBody(ThreadBody):
    """A thread of a search with `select` or `extract`."""

    interrupts = serializers.DictField(child=InterruptBody(many=True), allow_null=True)
    ttl = None  # type: ignore[assignment]
    extracted = serializers.DictField(
        child=AnyJSON(allow_null=True), help_text="By alias"
    )


FOUND = selectable(ThreadBody, selection(FoundThreadBody))


class SizeBody(serializers.Serializer[Any]):
    count = serializers.IntegerField()
    bytes = serializers.IntegerField()


class ChannelBody(serializers.Serializer[Any]):
    versions = serializers.IntegerField()
    bytes = serializers.IntegerField()


class ChannelsBody(SizeBody):
    by_channel = serializers.DictField(child=ChannelBody())


class StorageBody(serializers.Serializer[Any]):
    """The size of a thread's state in the database."""

    thread_id = serializers.UUIDField()
    total_bytes = serializers.IntegerField()
    checkpoints = SizeBody()
    channel_values = ChannelsBody()
    pending_writes = SizeBody()


class PrunedBody(serializers.Serializer[Any]):
    pruned_count = serializers.IntegerField()


@extend_schema_field(
    {"allOf": [{"$ref": "#/components/schemas/StateBody"}], "nullable": True}
)
class NestedState(AnyJSON):
    """The state of a task that is a subgraph."""


class TaskBody(serializers.Serializer[Any]):
    id = serializers.CharField()
    name = serializers.CharField()
    path = serializers.ListField(child=AnyJSON())
    error = serializers.CharField(allow_null=True)
    interrupts = InterruptBody(many=True)
    checkpoint = CheckpointBody(allow_null=True)
    state = NestedState(allow_null=True)
    result = AnyJSON(allow_null=True)


class StateBody(serializers.Serializer[Any]):
    """A `ThreadState`; `threads.state_form.state_json` makes it."""

    values = AnyJSON(allow_null=True)
    next = serializers.ListField(child=serializers.CharField())
    tasks = TaskBody(many=True)
    metadata = Object(allow_null=True)
    created_at = serializers.DateTimeField(allow_null=True)
    checkpoint = CheckpointBody(allow_null=True)
    parent_checkpoint = CheckpointBody(allow_null=True)
    interrupts = InterruptBody(many=True)
    checkpoint_id = serializers.CharField(allow_null=True)
    parent_checkpoint_id = serializers.CharField(allow_null=True)


STATE = selectable(StateBody)


class UpdatedStateBody(serializers.Serializer[Any]):
    checkpoint = CheckpointBody()
    configurable = CheckpointBody()
    checkpoint_id = serializers.CharField()
