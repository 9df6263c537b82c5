"""The schema of the API, as `/openapi.json` and `/docs` have it."""

from __future__ import annotations

from functools import cache
from typing import Any

from drf_spectacular.generators import SchemaGenerator


class Generator(SchemaGenerator):
    """Makes the schema once: it is the same for everybody, and takes a tenth of a second."""

    def get_schema(self, request: Any = None, public: bool = False) -> Any:
        return schema(public)


@cache
def schema(public: bool) -> Any:
    generator: Any = SchemaGenerator
    return generator().get_schema(request=None, public=public)
