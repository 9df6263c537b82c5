"""Responses about the server itself match their description."""

from __future__ import annotations

from typing import Any

import pytest

from spool.web.tests.described import conforms, schema, tried

pytestmark = pytest.mark.django_db(transaction=True)

SYSTEM = r"^/(ok|live|ready|info|metrics|usage)$"


@schema.include(path_regex=SYSTEM).parametrize()
@tried(times=10)
def test_what_is_documented_is_what_happens(case: Any) -> None:
    conforms(case)


def test_each_test_has_an_id_of_its_own(request: pytest.FixtureRequest) -> None:
    # Of several tests with the same id, `-n` runs only the first.
    ids = [item.nodeid for item in request.session.items]

    assert len(set(ids)) == len(ids)
