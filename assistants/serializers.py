"""The wire's names and shapes for assistants."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from assistants.models import Assistant, AssistantVersion, Configured
from config.rest_fields import Object, StringOrList

SORTABLE = ("assistant_id", "created_at", "updated_at", "name", "graph_id")


def assistant_json(assistant: Assistant) -> dict[str, Any]:
    row = _configured(assistant)
    return {"assistant_id": assistant.id, **row, "updated_at": assistant.updated_at}


def version_json(version: AssistantVersion) -> dict[str, Any]:
    return {"assistant_id": version.assistant_id, **_configured(version)}


def _configured(row: Configured) -> dict[str, Any]:
    return {
        "graph_id": row.graph_id,
        "config": row.config,
        "context": row.context,
        "metadata": row.metadata,
        "name": row.name,
        "created_at": row.created_at,
        "version": row.version,
        "description": row.description,
    }


class AssistantBody(serializers.Serializer[Any]):
    """An assistant as the wire shows it; `assistant_json` makes it."""

    assistant_id = serializers.UUIDField()
    graph_id = serializers.CharField()
    config = Object()
    context = Object()  # type: ignore[assignment]
    metadata = Object()
    name = serializers.CharField()
    created_at = serializers.DateTimeField()
    updated_at = serializers.DateTimeField()
    version = serializers.IntegerField()
    description = serializers.CharField(allow_null=True)


SELECTABLE = tuple(AssistantBody().fields)


class AssistantCreate(serializers.Serializer[Any]):
    graph_id = serializers.CharField()
    assistant_id = serializers.UUIDField(required=False, allow_null=True)
    config = Object(required=False, allow_null=True)
    context = Object(required=False, allow_null=True)  # type: ignore[assignment]
    metadata = Object(required=False, allow_null=True)
    if_exists = serializers.ChoiceField(
        choices=["raise", "do_nothing"], required=False, allow_null=True
    )
    name = serializers.CharField(required=False, allow_null=True, allow_blank=True)
    description = serializers.CharField(
        required=False, allow_null=True, allow_blank=True
    )


class AssistantUpdate(serializers.Serializer[Any]):
    graph_id = serializers.CharField(required=False, allow_null=True)
    config = Object(required=False, allow_null=True)
    context = Object(required=False, allow_null=True)  # type: ignore[assignment]
    metadata = Object(required=False, allow_null=True)
    name = serializers.CharField(required=False, allow_null=True, allow_blank=True)
    description = serializers.CharField(
        required=False, allow_null=True, allow_blank=True
    )


class AssistantFilter(serializers.Serializer[Any]):
    metadata = Object(required=False, allow_null=True, default=None)
    graph_id = serializers.CharField(required=False, allow_null=True, default=None)
    name = serializers.CharField(required=False, allow_null=True, default=None)


class AssistantSearch(AssistantFilter):
    limit = serializers.IntegerField(default=10, min_value=1, max_value=1000)
    offset = serializers.IntegerField(default=0, min_value=0, max_value=2**31)
    sort_by = serializers.ChoiceField(
        choices=SORTABLE, allow_null=True, default="created_at"
    )
    sort_order = serializers.ChoiceField(
        choices=["asc", "desc"], allow_null=True, default="desc"
    )
    select = StringOrList(choices=SELECTABLE, allow_null=True, default=None)


class VersionSearch(serializers.Serializer[Any]):
    metadata = Object(required=False, allow_null=True, default=None)
    limit = serializers.IntegerField(default=10, min_value=1, max_value=1000)
    offset = serializers.IntegerField(default=0, min_value=0, max_value=2**31)


class SetLatest(serializers.Serializer[Any]):
    version = serializers.IntegerField(min_value=1)
