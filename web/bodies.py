"""Validate JSON bodies, queries, and ids in paths."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache, cached_property
from typing import Any
from uuid import UUID

from rest_framework import serializers
from rest_framework.fields import empty
from rest_framework.request import Request

from spool.web.errors import Unprocessable


class Body(serializers.Serializer[Any]):
    """A JSON object. A null field is the same as a missing one."""

    def to_internal_value(self, data: Any) -> Any:
        if isinstance(data, dict):
            data = {name: value for name, value in data.items() if value is not None}
        return super().to_internal_value(data)


class LargeBody(serializers.Serializer[Any]):
    """A JSON object with many fields, of which most requests have only a few.

    The other fields get their defaults without validation, which would take most of the
    time. A null field is the same as a missing one, where null is allowed.
    """

    def to_internal_value(self, data: Any) -> Any:
        if not isinstance(data, Mapping):
            return super().to_internal_value(data)  # Raises "not an object".
        valid, errors = self._defaults(), {}
        for name, field in self.fields.items():
            given = data.get(name, empty)
            is_missing = given is empty or (given is None and field.allow_null)
            if is_missing and not field.required:
                continue
            try:
                valid[name] = field.run_validation(given)
            except serializers.ValidationError as exc:
                errors[name] = exc.detail
        if errors:
            raise serializers.ValidationError(errors)
        return valid

    def _defaults(self) -> dict[str, Any]:
        return {
            name: default() if callable(default) else default
            for name, default in self._default_of.items()
        }

    @cached_property
    def _default_of(self) -> dict[str, Any]:
        return {
            name: field.default
            for name, field in self.fields.items()
            if field.default is not empty
        }


def valid_body(request: Request, body: type[Body]) -> dict[str, Any]:
    """Validate the request's body. Raises 422, naming each invalid field."""
    if request.META.get("CONTENT_LENGTH") in (None, "", "0"):
        raise Unprocessable("Invalid JSON in request body")
    if not isinstance(request.data, dict):
        raise Unprocessable("the body must be a JSON object")
    return valid(body, request.data)


def valid(kind: type[serializers.Serializer[Any]], given: Any) -> dict[str, Any]:
    """Validate `given`. Raises 422, naming each invalid field."""
    return dict(_checker(kind).run_validation(given))


@cache
def _checker(kind: type[serializers.Serializer[Any]]) -> serializers.Serializer[Any]:
    """One serializer for all requests: a new one would copy all of its fields."""
    return kind()


def path_uuid(text: str, what: str) -> UUID:
    """Parse an id from a URL's path. Raises 422, naming `what` has the id."""
    try:
        return UUID(text)
    except ValueError:
        raise Unprocessable(f"Invalid {what} ID: must be a UUID") from None
