"""A Valkey whose memory is full of events of runs."""

from __future__ import annotations

from pathlib import Path

import redis

from spool.embedded.tests.test_servers import running
from spool.embedded.valkey import Valkey

MEGABYTE = 2**20


def test_events_make_room_for_messages(tmp_path: Path) -> None:
    server = Valkey(tmp_path)
    with running(server), redis.Redis.from_url(server.url) as client:
        client.config_set("maxmemory", 16 * MEGABYTE)
        client.lpush("queue", "first")

        for number in range(32):
            client.xadd(f"events:{number}", {"e": b"x" * MEGABYTE})
            client.expire(f"events:{number}", 3600)
        for number in range(10):
            client.lpush("queue", "x" * MEGABYTE * (number % 2))

        assert client.llen("queue") == 11
        assert 0 < len(client.keys("events:*")) < 16
