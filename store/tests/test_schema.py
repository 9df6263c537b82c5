"""The store's responses match its description, and none is a 5xx."""

from __future__ import annotations

from typing import Any

import pytest

from spool.store.models import StoreItem
from spool.web.tests.described import conforms, schema, tried

# Requests may close the connection, and with it the transaction of a test.
pytestmark = pytest.mark.django_db(transaction=True)

ours = schema.include(path_regex=r"^/store/")


def test_the_schema_names_the_types_of_a_put() -> None:
    fields = schema.raw_schema["components"]["schemas"]["PutItem"]["properties"]

    assert {name: field.get("type") for name, field in fields.items()} == {
        "namespace": "array",
        "key": "string",
        "value": "object",
        "metadata": "object",
        "index": None,  # It has several types, so the schema has no `type`.
        "ttl": "number",
    }


@ours.parametrize()
@tried(times=25)
def test_what_is_documented_is_what_happens(case: Any) -> None:
    check(case)


@pytest.mark.long
@ours.parametrize()
@tried(times=400, edges=True)
def test_what_is_documented_is_what_happens_each_time(case: Any) -> None:
    check(case)


def check(case: Any) -> None:
    StoreItem.objects.get_or_create(path="a.b", key="k", defaults={"value": {"n": 1}})
    conforms(case)
