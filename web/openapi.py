"""The schema of the API, for `/openapi.json` and `/docs`."""

from __future__ import annotations

from functools import cache
from typing import Any

from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.openapi import AutoSchema
from drf_spectacular.serializers import PolymorphicProxySerializerExtension

from spool.web.mounting import custom_schema, is_always_ours


class Schema(AutoSchema):
    """Describes one operation.

    Ids in its path are UUIDs, and a DELETE may have a body: Django REST Framework's
    generator knows neither.
    """

    def get_operation(self, *args: Any, **kwargs: Any) -> Any:
        operation: Any = super().get_operation(*args, **kwargs)
        if operation is None:
            return None
        names = getattr(self.view, "uuids_in_path", ())
        for parameter in operation.get("parameters", []):
            if parameter["in"] == "path" and parameter["name"] in names:
                parameter["schema"].setdefault("format", "uuid")
        if self.method == "DELETE" and (body := self.get_request_serializer()):
            shape = self.resolve_serializer(body, "request").ref
            content = {"application/json": {"schema": shape}}
            operation["requestBody"] = {"content": content, "required": True}
        return operation

    def get_request_serializer(self) -> Any:
        """None, if `extend_schema` gives a GET or a DELETE no body."""
        has_body = self.method in ("POST", "PUT", "PATCH")
        return super().get_request_serializer() if has_body else None


class CombinedExtension(PolymorphicProxySerializerExtension):  # type: ignore[no-untyped-call]
    target_class = "spool.web.answers.Combined"
    match_subclasses = True
    priority = 0

    def map_serializer(self, auto_schema: Any, direction: Any) -> Any:
        schema: Any = super()
        parts = schema.map_serializer(auto_schema, direction)["oneOf"]
        return self.target.combine(parts)


class Generator(SchemaGenerator):
    """Builds the schema only once: it takes 0.1 s, and is the same for all callers."""

    def get_schema(self, request: Any = None, public: bool = False) -> Any:
        return schema(public)


@cache
def schema(public: bool) -> Any:
    generator: Any = SchemaGenerator
    return _with_custom(generator().get_schema(request=None, public=public))


def _with_custom(ours: Any) -> Any:
    """Our schema, merged with the routes of `http.app`."""
    theirs = custom_schema()
    paths = {
        path: operations
        for path, operations in theirs["paths"].items()
        if not is_always_ours(path)
    }
    components = dict(theirs.get("components") or {})
    for kind, named in (ours.get("components") or {}).items():
        components[kind] = {**(components.get(kind) or {}), **named}
    # If both have a path, the app's route comes first: see `mounting.CustomRoutes`.
    merged = {**ours["paths"]}
    for path, operations in paths.items():
        merged[path] = {**merged.get(path, {}), **operations}
    return {**ours, "paths": merged, "components": components}
