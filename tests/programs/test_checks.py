"""The checks of the servers that runs depend on."""

from __future__ import annotations

import pytest
from django.db import connections
from redis import Redis

from spool import checks

pytestmark = pytest.mark.django_db


def test_everything_answers() -> None:
    assert checks.check_database() == []
    assert checks.check_broker() == []


def test_a_redis_that_does_not_answer_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    unreachable = Redis(host="127.0.0.1", port=1)
    monkeypatch.setattr(checks, "redis_client", lambda: unreachable)

    (error,) = checks.check_broker()

    assert error.id == "runs.E003"
    assert error.msg.startswith("cannot reach Redis (REDIS_URL): ")
    unreachable.close()


def test_a_postgres_that_does_not_answer_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    unreachable = connections["default"].copy()
    unreachable.settings_dict = {
        **unreachable.settings_dict,
        "HOST": "127.0.0.1",
        "PORT": 1,
    }
    monkeypatch.setattr(checks, "connection", unreachable)

    (error,) = checks.check_database()

    assert error.id == "runs.E001"
    assert error.msg.startswith("cannot reach Postgres (DATABASE_URL): ")
    assert error.msg.endswith("Connection refused")
