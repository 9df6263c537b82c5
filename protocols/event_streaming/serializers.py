"""The shapes of the protocol in the OpenAPI description; `requests` has all fields."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from spool.protocols.event_streaming.commands import METHODS
from spool.web.fields import Object


class CommandBody(serializers.Serializer[Any]):
    id = serializers.IntegerField(min_value=0)
    method = serializers.ChoiceField(choices=sorted(METHODS))
    params = Object(required=False)


class MetaBody(serializers.Serializer[Any]):
    applied_through_seq = serializers.IntegerField()


class CommandResponseBody(serializers.Serializer[Any]):
    """Has `result` if `type` is `success`; `error` and `message` if it is `error`."""

    type = serializers.ChoiceField(choices=["success", "error"])
    id = serializers.IntegerField(allow_null=True)
    result = Object(required=False)
    error = serializers.CharField(required=False)
    message = serializers.CharField(required=False)
    meta = MetaBody(required=False)


class EventStreamBody(serializers.Serializer[Any]):
    channels = serializers.ListField(child=serializers.CharField(), min_length=1)
    namespaces = serializers.ListField(
        child=serializers.ListField(child=serializers.CharField()), required=False
    )
    depth = serializers.IntegerField(min_value=0, required=False)
    since = serializers.IntegerField(min_value=0, required=False)
