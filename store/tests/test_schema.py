"""The API's own description, against the API: nothing undocumented, and no 5xx."""

from __future__ import annotations

from typing import Any

import pytest
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    response_schema_conformance,
    status_code_conformance,
)

from spool.store.models import StoreItem
from spool.web.tests.described import schema, tried

CHECKS = [not_a_server_error, status_code_conformance, response_schema_conformance]

# Requests may close the connection, and with it the transaction of a test.
pytestmark = pytest.mark.django_db(transaction=True)


@schema.include(path_regex=r"^/store/").parametrize()
@tried(times=40)
def test_what_is_documented_is_what_happens(case: Any) -> None:
    StoreItem.objects.get_or_create(path="a.b", key="k", defaults={"value": {"n": 1}})

    case.call_and_validate(checks=CHECKS)


def test_the_schema_names_the_types_of_a_put() -> None:
    fields = schema.raw_schema["components"]["schemas"]["PutItem"]["properties"]

    assert {name: field.get("type") for name, field in fields.items()} == {
        "namespace": "array",
        "key": "string",
        "value": "object",
        "metadata": "object",
        "index": None,  # One of two.
        "ttl": "number",
    }
