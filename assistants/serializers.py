"""The wire's names and shapes for assistants."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from spool.assistants.models import Assistant, AssistantVersion, Configured
from spool.database.json import moment
from spool.web.answers import MapOf, selectable
from spool.web.bodies import Body
from spool.web.fields import (
    AnyJSON,
    Metadata,
    Object,
    StringOrList,
    Text,
    UUIDText,
    object_schema,
)
from spool.web.limits import check_metadata

SORTABLE = ("assistant_id", "created_at", "updated_at", "name", "graph_id")


def assistant_json(assistant: Assistant) -> dict[str, Any]:
    row = _configured(assistant)
    return {
        "assistant_id": assistant.id,
        **row,
        "updated_at": moment(assistant.updated_at),
    }


def version_json(version: AssistantVersion) -> dict[str, Any]:
    return {"assistant_id": version.assistant_id, **_configured(version)}


def _configured(row: Configured) -> dict[str, Any]:
    return {
        "graph_id": row.graph_id,
        "config": row.config,
        "context": row.context,
        "metadata": row.metadata,
        "name": row.name,
        "created_at": moment(row.created_at),
        "version": row.version,
        "description": row.description,
    }


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(one, str) for one in value)


def _is_count(value: Any) -> bool:
    return type(value) is int and value > 0


class Key(NamedTuple):
    """A key of a config: its validator, the text of its error, and its JSON schema."""

    is_valid: Callable[[Any], bool]
    must_be: str
    schema: dict[str, Any]


_OBJECT = Key(
    lambda value: isinstance(value, dict),
    "an object",
    {"type": "object", "additionalProperties": {}},
)
_COUNT = Key(_is_count, "a positive number", {"type": "integer", "minimum": 1})
CONFIG_KEYS = {
    "configurable": _OBJECT,
    "metadata": _OBJECT,
    "tags": Key(
        _is_texts, "a list of strings", {"type": "array", "items": {"type": "string"}}
    ),
    "recursion_limit": _COUNT,
    "max_concurrency": _COUNT,
    "run_name": Key(
        lambda value: isinstance(value, str), "a string", {"type": "string"}
    ),
}


@extend_schema_field(
    object_schema(**{name: key.schema for name, key in CONFIG_KEYS.items()})
)
class Config(Object):
    """The part of a `RunnableConfig` that is meaningful over the wire."""


class AssistantBody(serializers.Serializer[Any]):
    """An assistant as the wire shows it; `assistant_json` makes it."""

    assistant_id = serializers.UUIDField()
    graph_id = serializers.CharField()
    config = Config()
    context = Object()  # type: ignore[assignment]
    metadata = Object()
    name = serializers.CharField()
    created_at = serializers.DateTimeField()
    updated_at = serializers.DateTimeField()
    version = serializers.IntegerField()
    description = serializers.CharField(allow_null=True)


class VersionBody(AssistantBody):
    updated_at = None  # type: ignore[assignment]


FOUND = selectable(AssistantBody)
SELECTABLE = tuple(AssistantBody().fields)


@extend_schema_field({"oneOf": [{"type": "string"}, {"type": "integer"}]})
class NodeName(AnyJSON):
    pass


class NodeBody(serializers.Serializer[Any]):
    id = NodeName()
    type = serializers.CharField(required=False)
    data = AnyJSON(required=False)  # type: ignore[assignment]
    metadata = Object(required=False)


class EdgeBody(serializers.Serializer[Any]):
    source = NodeName()  # type: ignore[assignment]
    target = NodeName()
    data = AnyJSON(required=False)  # type: ignore[assignment]
    conditional = serializers.BooleanField(required=False)


class GraphBody(serializers.Serializer[Any]):
    """A graph to be drawn."""

    nodes = NodeBody(many=True)
    edges = EdgeBody(many=True)


class SubgraphSchemasBody(serializers.Serializer[Any]):
    """JSON schemas."""

    input_schema = Object()
    output_schema = Object()
    state_schema = Object()
    config_schema = Object()
    context_schema = Object(allow_null=True)


class GraphSchemasBody(SubgraphSchemasBody):
    graph_id = serializers.CharField()


# The schemas of subgraphs, by the names of their nodes.
SUBGRAPHS = MapOf("SubgraphsBody", [SubgraphSchemasBody])


def _text(**kwargs: Any) -> Text:
    return Text(required=False, allow_null=True, trim_whitespace=False, **kwargs)


class ConfigField(Config):
    """A config from a client.

    Other keys (`callbacks`, `run_id`) are internal: they are shown, but not used.
    """

    def to_internal_value(self, data: Any) -> Any:
        config = super().to_internal_value(data)
        for name, key in CONFIG_KEYS.items():
            if config.get(name) is not None and not key.is_valid(config[name]):
                raise serializers.ValidationError(f"{name}: must be {key.must_be}")
        # A run merges these keys into its metadata, and its thread keeps them.
        for name in ("metadata", "tags"):
            check_metadata(config.get(name), name=f"{name}: ")
        return config


class AssistantUpdate(Body):
    graph_id = _text()
    config = ConfigField(required=False, allow_null=True)
    # Serializers have a property `context`; declared fields are removed from the class.
    context = Object(required=False, allow_null=True)  # type: ignore[assignment]
    metadata = Metadata(required=False, allow_null=True, default=dict)
    name = _text(allow_blank=True)
    description = _text(allow_blank=True)


class AssistantCreate(AssistantUpdate):
    graph_id = Text(trim_whitespace=False)
    assistant_id = UUIDText(required=False, allow_null=True)
    if_exists = serializers.ChoiceField(
        choices=["raise", "do_nothing"],
        required=False,
        allow_null=True,
        default="raise",
    )


class AssistantFilter(Body):
    metadata = Object(required=False, allow_null=True, default=dict)
    graph_id = _text(allow_blank=True, default="")
    name = _text(allow_blank=True, default="")


class _Page(Body):
    limit = serializers.IntegerField(
        required=False, allow_null=True, default=10, min_value=1, max_value=1000
    )
    offset = serializers.IntegerField(
        required=False, allow_null=True, default=0, min_value=0, max_value=2**31
    )


class AssistantSearch(_Page, AssistantFilter):
    sort_by = serializers.ChoiceField(
        choices=SORTABLE, required=False, allow_null=True, default="created_at"
    )
    sort_order = serializers.ChoiceField(
        choices=["asc", "desc"], required=False, allow_null=True, default="desc"
    )
    select = StringOrList(
        choices=SELECTABLE, required=False, allow_null=True, default=list
    )


class VersionSearch(_Page):
    metadata = Object(required=False, allow_null=True, default=dict)


class SetLatest(Body):
    version = serializers.IntegerField(min_value=1, max_value=2**31 - 1)
