"""Routes that docs/compatibility.md lists as not served answer 404, never 500."""

from __future__ import annotations

from uuid import uuid4

import pytest
from django.test import Client

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("post", "/ui/{id}"),
    ],
)
def test_it_is_not_there(client: Client, method: str, path: str) -> None:
    asked = path.format(id=uuid4())

    answer = getattr(client, method)(asked, {}, content_type="application/json")

    assert answer.status_code == 404
    assert answer.json() == {"detail": "Not Found"}
