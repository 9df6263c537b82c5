"""Serializers for store items: names and shapes on the wire."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from spool.database.json import moment
from spool.store.items import FoundItem, StoredItem
from spool.store.ttl import MAX_TTL_MINUTES, is_ttl
from spool.web.answers import OrNull
from spool.web.fields import Metadata, Object

MAX_LIMIT = 1000
MAX_NAMESPACES = 10_000
MAX_OFFSET = 2**31 - 1
STRINGS = {"type": "array", "items": {"type": "string"}}


def item_json(item: StoredItem | FoundItem) -> dict[str, Any]:
    return {
        "namespace": item.namespace,
        "key": item.key,
        "value": item.value,
        "metadata": item.metadata,
        "created_at": moment(item.created_at),
        "updated_at": moment(item.updated_at),
    }


def found_json(item: FoundItem) -> dict[str, Any]:
    return {**item_json(item), "score": item.score}


@extend_schema_field({"type": "string"})
class Text(serializers.Field[Any, Any, Any, Any]):
    """A string, unchanged: it may be empty or have spaces around it."""

    def to_internal_value(self, data: Any) -> str:
        if not isinstance(data, str):
            raise serializers.ValidationError("must be a string")
        return data

    def to_representation(self, value: Any) -> Any:
        return value


@extend_schema_field(STRINGS)
class Labels(serializers.Field[Any, Any, Any, Any]):
    """A namespace. `store.namespaces` validates the labels."""

    def to_internal_value(self, data: Any) -> tuple[str, ...]:
        if not isinstance(data, list) or not all(isinstance(one, str) for one in data):
            raise serializers.ValidationError("must be a list of strings")
        return tuple(data)

    def to_representation(self, value: Any) -> Any:
        return value


@extend_schema_field({"oneOf": [{"type": "boolean", "enum": [False]}, STRINGS]})
class IndexField(serializers.Field[Any, Any, Any, Any]):
    """The fields to index for queries: null (the default ones), false, or paths."""

    def to_internal_value(self, data: Any) -> Any:
        is_list = isinstance(data, list) and all(isinstance(one, str) for one in data)
        if data is not False and not is_list:
            raise serializers.ValidationError("must be null, false or a list of paths")
        return data

    def to_representation(self, value: Any) -> Any:
        return value


@extend_schema_field({"type": "number", "minimum": 0, "exclusiveMinimum": True})
class TTLField(serializers.Field[Any, Any, Any, Any]):
    """Minutes to live."""

    def to_internal_value(self, data: Any) -> float:
        if not is_ttl(data):
            raise serializers.ValidationError("must be a positive number of minutes")
        return min(float(data), MAX_TTL_MINUTES)

    def to_representation(self, value: Any) -> Any:
        return value


class PutItem(serializers.Serializer[Any]):
    namespace = Labels()
    key = Text()
    value = Object()
    # If left out, the stored metadata is kept.
    metadata = Metadata(required=False)
    index = IndexField(allow_null=True, default=None)
    # If left out, the configured default applies; null means never.
    ttl = TTLField(allow_null=True, required=False)


class DeleteItem(serializers.Serializer[Any]):
    namespace = Labels()
    key = Text()


class GetQuery(serializers.Serializer[Any]):
    namespace = serializers.CharField(
        required=False, allow_blank=True, help_text="Labels joined by dots."
    )
    key = serializers.CharField(allow_blank=True)
    refresh_ttl = serializers.BooleanField(allow_null=True, default=None)


class SearchItems(serializers.Serializer[Any]):
    namespace_prefix = Labels(allow_null=True, default=None)
    filter = Object(allow_null=True, default=None)
    metadata = Object(
        allow_null=True, default=None, help_text="What an item's metadata contains."
    )
    limit = serializers.IntegerField(default=10, min_value=1, max_value=MAX_LIMIT)
    offset = serializers.IntegerField(default=0, min_value=0, max_value=MAX_OFFSET)
    query = Text(allow_null=True, default=None)
    refresh_ttl = serializers.BooleanField(allow_null=True, default=None)


class ListNamespaces(serializers.Serializer[Any]):
    prefix = Labels(allow_null=True, default=None)
    suffix = Labels(allow_null=True, default=None)
    max_depth = serializers.IntegerField(
        allow_null=True, default=None, min_value=1, max_value=MAX_OFFSET
    )
    limit = serializers.IntegerField(default=100, min_value=1, max_value=MAX_NAMESPACES)
    offset = serializers.IntegerField(default=0, min_value=0, max_value=MAX_OFFSET)


class ItemBody(serializers.Serializer[Any]):
    """An item as the wire shows it; `item_json` makes it."""

    namespace = serializers.ListField(child=serializers.CharField())
    key = serializers.CharField()
    value = Object()
    metadata = Object()
    created_at = serializers.DateTimeField()
    updated_at = serializers.DateTimeField()


class NoKeyBody(serializers.Serializer[Any]):
    """The one error without `detail`."""

    error = serializers.CharField()


ITEM_OR_NULL = OrNull("ItemOrNull", [ItemBody])


class FoundItemBody(ItemBody):
    """An item of a search; `found_json` makes it."""

    score = serializers.FloatField(allow_null=True)


class FoundItemsBody(serializers.Serializer[Any]):
    items = FoundItemBody(many=True)


class NamespacesBody(serializers.Serializer[Any]):
    namespaces = serializers.ListField(
        child=serializers.ListField(child=serializers.CharField())
    )
