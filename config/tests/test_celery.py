"""The connection to the broker."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from typing import Any

import pytest
from django.conf import settings
from kombu.exceptions import OperationalError

from spool.config.celery import app


def test_a_broker_that_went_away_is_looked_for_every_second() -> None:
    pauses: list[float] = []

    def note(exc: Exception, pause: float) -> None:
        pauses.append(pause)

    connection: Any = app.connection_for_read("redis://127.0.0.1:1/0")
    with pytest.raises(OperationalError):
        connection.ensure_connection(note, max_retries=2)

    assert pauses == [1, 1]


def test_senders_reuse_their_connection() -> None:
    """A message's `retry=False` does not apply to its connection."""
    asked: list[object] = []

    def refuse(listening: socket.socket) -> None:
        with suppress(OSError):
            while True:
                one, _ = listening.accept()
                asked.append(one)
                one.close()

    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        threading.Thread(target=refuse, args=[listening], daemon=True).start()
        url = f"redis://127.0.0.1:{port}/0"
        options = settings.CELERY_BROKER_TRANSPORT_OPTIONS
        connecting = app.connection_for_write(url, transport_options=options)
        with connecting as connection, pytest.raises(OperationalError):
            _ = connection.default_channel

    assert len(asked) == 1
