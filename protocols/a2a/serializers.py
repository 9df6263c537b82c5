"""The shapes of A2A 1.0 in the description of the API, as far as agents here use them.

The SDK reads and writes the messages; the specification has every field.
"""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema_serializer
from rest_framework import serializers

from spool.web.fields import AnyJSON, Object


class RPCBody(serializers.Serializer[Any]):
    """A JSON-RPC 2.0 message: requests have `method`, responses `result` or `error`."""

    jsonrpc = serializers.ChoiceField(choices=["2.0"])
    id = AnyJSON(required=False, allow_null=True)
    method = serializers.CharField(required=False)
    params = Object(required=False)
    result = AnyJSON(required=False)
    error = Object(required=False)


class MessagePartBody(serializers.Serializer[Any]):
    """One of `text`, `raw` (in base64), `url` and `data`."""

    text = serializers.CharField(required=False)
    raw = serializers.CharField(required=False)
    url = serializers.CharField(required=False)
    data = AnyJSON(required=False)  # type: ignore[assignment]
    mediaType = serializers.CharField(required=False)
    filename = serializers.CharField(required=False)
    metadata = Object(required=False)


class MessageBody(serializers.Serializer[Any]):
    messageId = serializers.CharField()
    role = serializers.CharField()
    parts = MessagePartBody(many=True)
    contextId = serializers.CharField(required=False)
    taskId = serializers.CharField(required=False)
    metadata = Object(required=False)


class SendBody(serializers.Serializer[Any]):
    message = MessageBody()
    configuration = Object(required=False)
    metadata = Object(required=False)


class StatusBody(serializers.Serializer[Any]):
    state = serializers.CharField()
    message = MessageBody(required=False)
    timestamp = serializers.DateTimeField(required=False)


class ArtifactBody(serializers.Serializer[Any]):
    artifactId = serializers.CharField()
    parts = MessagePartBody(many=True)
    name = serializers.CharField(required=False)
    description = serializers.CharField(required=False)
    metadata = Object(required=False)


class AgentTaskBody(serializers.Serializer[Any]):
    id = serializers.CharField()
    contextId = serializers.CharField()
    status = StatusBody()
    artifacts = ArtifactBody(many=True, required=False)
    history = MessageBody(many=True, required=False)
    metadata = Object(required=False)


class SentBody(serializers.Serializer[Any]):
    task = AgentTaskBody(required=False)
    message = MessageBody(required=False)


@extend_schema_serializer(many=False)
class TasksBody(serializers.Serializer[Any]):
    tasks = AgentTaskBody(many=True, required=False)
    nextPageToken = serializers.CharField(required=False, allow_blank=True)
    pageSize = serializers.IntegerField(required=False)
    totalSize = serializers.IntegerField(required=False)


class PushConfigBody(serializers.Serializer[Any]):
    url = serializers.CharField()
    id = serializers.CharField(required=False)
    taskId = serializers.CharField(required=False)
    token = serializers.CharField(required=False)
    authentication = Object(required=False)


class PushConfigsBody(serializers.Serializer[Any]):
    configs = PushConfigBody(many=True, required=False)
    nextPageToken = serializers.CharField(required=False, allow_blank=True)


class CardBody(serializers.Serializer[Any]):
    """An agent card."""

    name = serializers.CharField()
    description = serializers.CharField()
    version = serializers.CharField()
    supportedInterfaces = serializers.ListField(child=Object())
    capabilities = Object()
    defaultInputModes = serializers.ListField(child=serializers.CharField())
    defaultOutputModes = serializers.ListField(child=serializers.CharField())
    skills = serializers.ListField(child=Object())
    securitySchemes = Object(required=False)
    securityRequirements = serializers.ListField(child=Object(), required=False)
    # For clients of 0.3.
    url = serializers.CharField(required=False)
    preferredTransport = serializers.CharField(required=False)
    protocolVersion = serializers.CharField(required=False)
    signatures = serializers.ListField(child=Object(), required=False)
