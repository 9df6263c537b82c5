"""Log records while a server is away."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
import redis
from django.db import OperationalError
from psycopg.errors import LockNotAvailable

from spool.telemetry import outages
from spool.telemetry.outages import Outage, QuietOutages
from spool.tests.live import wait_until

GONE = psycopg.OperationalError("server closed the connection unexpectedly\nmore")


@pytest.fixture
def postgres(monkeypatch: pytest.MonkeyPatch) -> Iterator[Outage]:
    """An outage that lasts until its `probe` returns True."""
    outage = Outage("Postgres")
    outage.probe = lambda: False
    monkeypatch.setitem(outages._BY_NAME, "Postgres", outage)
    monkeypatch.setattr(outages, "PROBE_SECS", 0.01)
    yield outage
    outage.recovered()


def record(name: str, text: str, *args: Any, exc: BaseException | None = None) -> Any:
    info = (type(exc), exc, None) if exc else None
    return logging.LogRecord(name, logging.ERROR, "", 0, text, args, info)


def django_error(cause: Exception) -> OperationalError:
    error = OperationalError(str(cause))
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    "given",
    [
        record("spool.runs.tasks", "tick failed", exc=GONE),
        record("spool.web.errors", "GET / failed", exc=django_error(GONE)),
        record("spool.database.retries", "retrying: %s", GONE),
        record("psycopg.pool", "error connecting in 'pool-1': refused"),
        record("celery.app.trace", "Task failed", exc=RuntimeError()),
    ],
    ids=lambda given: given.name,
)
def test_only_what_a_server_is_to_blame_for_is_dropped(
    postgres: Outage, given: logging.LogRecord
) -> None:
    passes = QuietOutages().filter(given)

    assert passes is (given.name == "celery.app.trace")
    assert postgres.is_on is not passes


@pytest.mark.parametrize(
    "given",
    [
        record("my_agent", "my database is away", exc=GONE),
        record("spool.runs.worker.executor", "run failed", exc=GONE),
        record("spool.crons.firing", "waits", exc=django_error(LockNotAvailable("x"))),
        record("celery.worker.consumer.consumer", "unregistered task"),
        record("spool.web.errors", "failed", exc=ValueError("connection")),
    ],
    ids=lambda given: given.name,
)
def test_what_is_about_something_else_stays(
    postgres: Outage, given: logging.LogRecord
) -> None:
    assert QuietOutages().filter(given)
    assert not postgres.is_on


def test_an_outage_is_said_at_its_begin_and_at_its_end(
    postgres: Outage, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(100):
        postgres.failed(GONE)
    postgres.probe = lambda: True
    wait_until(lambda: not postgres.is_on)

    told = [r.getMessage() for r in caplog.records if hasattr(r, "is_outage")]
    # Connections of earlier tests may fail later.
    first, last, *_ = told
    assert first == "Postgres is away: server closed the connection unexpectedly"
    assert re.fullmatch(r"Postgres is back after [\d.]+ s, 100 attempts failed", last)


def test_a_long_outage_is_said_again_now_and_then(
    postgres: Outage,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    postgres.failed(GONE)
    postgres.failed(GONE)
    monkeypatch.setattr(outages, "REPEAT_SECS", 0.0)
    postgres.failed(GONE)

    said = [r.getMessage() for r in caplog.records if hasattr(r, "is_outage")]
    assert said[1:] == ["Postgres is away for 0 s, 3 attempts failed"]


def test_redis_is_known_by_its_exceptions(monkeypatch: pytest.MonkeyPatch) -> None:
    outage = Outage("Redis")
    monkeypatch.setitem(outages._BY_NAME, "Redis", outage)

    lost = redis.ConnectionError("Error 111")
    assert not QuietOutages().filter(record("spool.runs", "not signalled: %s", lost))
    assert outage.is_on
    outage.recovered()
