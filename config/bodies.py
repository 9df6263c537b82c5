"""The JSON objects that clients send."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers
from rest_framework.request import Request

from config.errors import Unprocessable


class Body(serializers.Serializer[Any]):
    """A JSON object. A field that is null means what leaving it out means."""

    def to_internal_value(self, data: Any) -> Any:
        if isinstance(data, dict):
            data = {name: value for name, value in data.items() if value is not None}
        return super().to_internal_value(data)


def valid_body(request: Request, body: type[Body]) -> dict[str, Any]:
    """What the client sent, checked. Raises 422, naming each field that is wrong."""
    if request.META.get("CONTENT_LENGTH") in (None, "", "0"):
        raise Unprocessable("Invalid JSON in request body")
    if not isinstance(request.data, dict):
        raise Unprocessable("the body must be a JSON object")
    checked = body(data=request.data)
    checked.is_valid(raise_exception=True)
    return dict(checked.validated_data)
