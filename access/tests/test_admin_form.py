"""The admin's form for an API key, and its date format."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from django.test import Client

from spool.access.keys import create_key

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("name", ["owner", "name"])
def test_what_is_one_line_has_a_field_of_one_line(
    admin_client: Client, name: str
) -> None:
    form = admin_client.get("/admin/access/apikey/add/").context["adminform"].form

    assert "<textarea" not in str(form[name])


def test_moments_are_shown_to_the_second_and_with_their_zone(
    admin_client: Client,
) -> None:
    moment = datetime(2036, 3, 4, 15, 6, 7, 890_000, tzinfo=UTC)
    create_key(owner="alice", name="laptop", expires_at=moment)

    page = admin_client.get("/admin/access/apikey/").content.decode()

    assert "2036-03-04 15:06:07 UTC" in page
