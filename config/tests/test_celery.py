"""The connection to the broker."""

from __future__ import annotations

from typing import Any

import pytest
from kombu.exceptions import OperationalError

from config.celery import app


def test_a_broker_that_went_away_is_looked_for_every_second() -> None:
    pauses: list[float] = []

    def note(exc: Exception, pause: float) -> None:
        pauses.append(pause)

    connection: Any = app.connection_for_read("redis://127.0.0.1:1/0")
    with pytest.raises(OperationalError):
        connection.ensure_connection(note, max_retries=2)

    assert pauses == [1, 1]
