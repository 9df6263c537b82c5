"""The schema of the API, as `/openapi.json` and `/docs` have it."""

from __future__ import annotations

from functools import cache
from typing import Any

from drf_spectacular.generators import SchemaGenerator

from spool.web.mounting import custom_schema, is_always_ours


class Generator(SchemaGenerator):
    """Builds the schema once: all callers get the same, and it takes 0.1 seconds."""

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
        path: told for path, told in theirs["paths"].items() if not is_always_ours(path)
    }
    components = dict(theirs.get("components") or {})
    for kind, named in (ours.get("components") or {}).items():
        components[kind] = {**(components.get(kind) or {}), **named}
    # If both have a path, the app's route comes first: see `mounting.CustomRoutes`.
    merged = {**ours["paths"]}
    for path, told in paths.items():
        merged[path] = {**merged.get(path, {}), **told}
    return {**ours, "paths": merged, "components": components}
