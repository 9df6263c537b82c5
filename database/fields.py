"""Django's `JSONField` for Postgres, written and read by `database.json`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.db import models

from spool.database.json import from_jsonb, jsonb, ordered_json


class JSONField(models.JSONField):
    """`jsonb` that accepts any graph state, and cleans text that Postgres refuses."""

    def get_db_prep_value(
        self, value: Any, connection: Any, prepared: bool = False
    ) -> Any:
        return jsonb(value)

    def from_db_value(self, value: Any, expression: Any, connection: Any) -> Any:
        if not isinstance(value, (str, bytes)):
            return value
        return from_jsonb(value)

    def deconstruct(self) -> Any:
        # Migrations use Django's own field, since the column is the same.
        name, _, args, kwargs = super().deconstruct()
        return name, "django.db.models.JSONField", args, kwargs


class OrderedJSONField(JSONField):
    """`json`, which keeps the order of keys but can't be searched."""

    def db_type(self, connection: Any) -> str:
        return "json"

    def get_db_prep_value(
        self, value: Any, connection: Any, prepared: bool = False
    ) -> Any:
        return None if value is None else ordered_json(value)


class Merge(models.Func):
    """`a || b` of two `jsonb` objects: all top-level keys; `b` takes precedence."""

    arg_joiner = " || "
    template = "%(expressions)s"
    output_field = JSONField()

    def __init__(self, column: str, changes: Mapping[str, Any]) -> None:
        super().__init__(models.F(column), models.Value(changes, JSONField()))
