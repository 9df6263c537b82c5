"""Usage under custom handlers: callers get their own; refused if threads are."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from spool.access.tests.conftest import Serve
from spool.usage.models import UsageTotal

pytestmark = pytest.mark.django_db

HANDLERS = """
@auth.authenticate
async def authenticate(headers: dict) -> str:
    return headers[b"x-api-key"].decode()

@auth.on.threads.search
async def search(ctx, value):
    return ctx.user.identity != "mallory" and {"team": "all"}
"""


def usage(client: Any, who: str) -> Any:
    query = "group_by=owner&start=2026-01-01&end=2026-01-31"
    return client.get(f"/usage?{query}", headers={"x-api-key": who})


def test_usage_is_the_callers_own_whatever_a_handler_returns(
    serve: Serve, client: Any
) -> None:
    serve(HANDLERS)
    for owner in ("alice", "bob", "mallory"):
        UsageTotal.objects.create(
            owner=owner,
            assistant_id="00000000-0000-0000-0000-000000000001",
            day=date(2026, 1, 1),
            calls=1,
        )

    assert [row["owner"] for row in usage(client, "alice").json()["usage"]] == ["alice"]
    assert usage(client, "mallory").status_code == 403
