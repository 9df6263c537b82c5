"""Parts of responses that several apps share, for `/openapi.json`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import (
    OpenApiParameter,
    OpenApiResponse,
    PolymorphicProxySerializer,
)
from rest_framework import serializers

from spool.web.fields import AnyJSON, Object

Body = serializers.Serializer[Any]

# The key of server-sent events in a view's `responses`.
EVENT_STREAM = (200, "text/event-stream")
EVENTS = OpenApiResponse(OpenApiTypes.STR, description="Server-sent events")

LAST_EVENT_ID = OpenApiParameter(
    "Last-Event-ID",
    str,
    OpenApiParameter.HEADER,
    description="The id of the last event that the client has: only later ones are sent",
)


def _header(name: str, kind: Any, description: str) -> OpenApiParameter:
    """A header of the response."""
    return OpenApiParameter(
        name,
        kind,
        OpenApiParameter.HEADER,
        description=description,
        response=["200"],
    )


PAGE_HEADERS = [
    _header(
        "X-Pagination-Total",
        int,
        "offset + rows in this response + 1 if there are more",
    ),
    _header("X-Pagination-Next", int, "The next offset, if there are more rows"),
]
CONTENT_LOCATION = _header("Content-Location", str, "The path of the run")
LOCATION = _header("Location", str, "The URL to reconnect to")


class ErrorBody(serializers.Serializer[Any]):
    detail = serializers.CharField()


def error(description: str) -> OpenApiResponse:
    return OpenApiResponse(ErrorBody, description=description)


INVALID = error("An invalid field; the text names it")


class FailureBody(serializers.Serializer[Any]):
    """The exception that a graph raised."""

    error = serializers.CharField(help_text="The exception's class")
    message = serializers.CharField()


class InterruptBody(serializers.Serializer[Any]):
    value = AnyJSON(allow_null=True)
    id = serializers.CharField()
    response_schema = Object(required=False, allow_null=True)


class CheckpointBody(serializers.Serializer[Any]):
    thread_id = serializers.CharField()
    checkpoint_ns = serializers.CharField()
    checkpoint_id = serializers.CharField(required=False, allow_null=True)
    checkpoint_map = Object(required=False)


class Combined(PolymorphicProxySerializer):
    """A response made of other bodies; `web.openapi` calls `combine` for its schema."""

    def __init__(self, name: str, bodies: Sequence[type[Body]]) -> None:
        super().__init__(
            component_name=name, serializers=list(bodies), resource_type_field_name=None
        )

    def combine(self, parts: list[dict[str, Any]]) -> dict[str, Any]:
        raise NotImplementedError


class AnyOf(Combined):
    def combine(self, parts: list[dict[str, Any]]) -> dict[str, Any]:
        return {"anyOf": parts}


class OrNull(Combined):
    def combine(self, parts: list[dict[str, Any]]) -> dict[str, Any]:
        return {"allOf": parts, "nullable": True}


class MapOf(Combined):
    """An object with any keys, whose values all have the same shape."""

    def combine(self, parts: list[dict[str, Any]]) -> dict[str, Any]:
        return {"type": "object", "additionalProperties": parts[0]}


def selection(body: type[Body]) -> type[Body]:
    """The response to a request with `select`: some of the fields of `body`."""

    class Selected(body):  # type: ignore[valid-type, misc]
        def get_fields(self) -> dict[str, Any]:
            fields: dict[str, Any] = super().get_fields()
            for field in fields.values():
                field.required = False
            return fields

    name = body.__name__.removesuffix("Body")
    Selected.__name__ = Selected.__qualname__ = f"Selected{name}Body"
    return Selected


def selectable(body: type[Body], selected: type[Body] | None = None) -> AnyOf:
    """One `body`, or the fields of it that the request selects."""
    name = body.__name__.removesuffix("Body")
    return AnyOf(f"{name}OrSelection", [body, selected or selection(body)])


def list_of(body: AnyOf) -> serializers.ListSerializer[Any]:
    return serializers.ListSerializer(child=body)
