"""The schema of the API, as `/openapi.json` and `/docs` have it."""

from __future__ import annotations

from functools import cache
from typing import Any

from drf_spectacular.generators import SchemaGenerator

from spool.web.mounting import custom_schema, is_always_ours


class Generator(SchemaGenerator):
    """Makes the schema once: it is the same for everybody, and takes a tenth of a second."""

    def get_schema(self, request: Any = None, public: bool = False) -> Any:
        return schema(public)


@cache
def schema(public: bool) -> Any:
    generator: Any = SchemaGenerator
    return _with_custom(generator().get_schema(request=None, public=public))


def _with_custom(ours: Any) -> Any:
    """Ours, and the routes of `http.app`."""
    theirs = custom_schema()
    paths = {
        path: told for path, told in theirs["paths"].items() if not is_always_ours(path)
    }
    components = dict(theirs.get("components") or {})
    for kind, named in (ours.get("components") or {}).items():
        components[kind] = {**(components.get(kind) or {}), **named}
    # Of a path that both have, theirs are asked first: see `mounting.CustomRoutes`.
    merged = {**ours["paths"]}
    for path, told in paths.items():
        merged[path] = {**merged.get(path, {}), **told}
    return {**ours, "paths": merged, "components": components}
