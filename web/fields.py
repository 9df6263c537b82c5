"""Serializer fields for JSON whose shape is the client's own.

Each sets its type in the API's schema, which would otherwise be a string.
"""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers
from rest_framework.fields import empty

from spool.database.json import loads
from spool.web.limits import check_metadata


def is_true(text: str | None) -> bool:
    """Parse a flag in a query, as the Python and the JavaScript clients write it."""
    return (text or "").strip('"').lower() in ("1", "true")


@extend_schema_field({})
class AnyJSON(serializers.Field[Any, Any, Any, Any]):
    """Any JSON value, unchanged."""

    def to_internal_value(self, data: Any) -> Any:
        return data

    def to_representation(self, value: Any) -> Any:
        return value


@extend_schema_field({"type": "object", "additionalProperties": {}})
class Object(serializers.Field[Any, Any, Any, Any]):
    """A JSON object with any values."""

    def to_internal_value(self, data: Any) -> Any:
        if not isinstance(data, dict):
            raise serializers.ValidationError("must be an object")
        return data

    def to_representation(self, value: Any) -> Any:
        return value


def object_schema(**properties: Any) -> dict[str, Any]:
    """The schema of an object that may have these keys, which may be null, and others."""
    return {
        "type": "object",
        "properties": {
            name: {**schema, "nullable": True} for name, schema in properties.items()
        },
        "additionalProperties": {},
    }


class Metadata(Object):
    """A row's metadata from the client: an object of a limited size."""

    def to_internal_value(self, data: Any) -> Any:
        found = super().to_internal_value(data)
        check_metadata(found)
        return found


class Text(serializers.CharField):
    """A string. Other types are refused: DRF's own field would convert numbers."""

    def to_internal_value(self, data: Any) -> str:
        if not isinstance(data, str):
            raise serializers.ValidationError("must be a string")
        return super().to_internal_value(data)


class Capped(serializers.IntegerField):
    """The requested number of rows of a GET, reduced to the maximum of one response."""

    def __init__(self, *, maximum: int = 1000, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.maximum = maximum

    def to_internal_value(self, data: Any) -> int:
        return min(int(super().to_internal_value(data)), self.maximum)


class UUIDText(serializers.UUIDField):
    """An id as a string. Other types are refused: DRF's own field accepts numbers."""

    def to_internal_value(self, data: Any) -> Any:
        if not isinstance(data, str):
            self.fail("invalid", value=data)
        return super().to_internal_value(data)


@extend_schema_field(
    {"oneOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}
)
class StringOrList(serializers.Field[Any, Any, Any, Any]):
    """One string or a list of them; always a list once validated."""

    def __init__(self, *, choices: tuple[str, ...] | None = None, **kwargs: Any):
        super().__init__(**kwargs)
        self.choices = choices

    def to_internal_value(self, data: Any) -> list[str]:
        items = [data] if isinstance(data, str) else data
        if not isinstance(items, list) or not all(isinstance(i, str) for i in items):
            raise serializers.ValidationError("must be a string or a list of strings")
        for item in items:
            if self.choices and item not in self.choices:
                raise serializers.ValidationError(
                    f"{item!r} is not one of {', '.join(self.choices)}"
                )
        return items

    def to_representation(self, value: Any) -> Any:
        return value


class QueryList(StringOrList):
    """A query parameter that is repeated, or holds one JSON array."""

    def get_value(self, dictionary: Any) -> Any:
        # The Python SDK sends `name=` for None.
        given = [text for text in dictionary.getlist(self.field_name) if text]
        if not given:
            return empty
        items: list[Any] = []
        for text in given:
            items += self._items(text)
        return items

    def _items(self, text: str) -> list[Any]:
        if not text.startswith("["):
            return [text]
        try:
            parsed: list[Any] = loads(text)
        except ValueError:
            return [None]  # Refused with the field's name, by `to_internal_value`.
        return parsed
