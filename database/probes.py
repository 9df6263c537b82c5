"""Probes that check whether a server is available again; see `telemetry.outages`."""

from __future__ import annotations

import psycopg
import redis
from django.conf import settings

from spool.telemetry import outages

TIMEOUT_SECS = 2


def fill() -> None:
    """Set the probes of the outages. Called once in each process."""
    outages.postgres.probe = postgres_answers
    outages.redis.probe = redis_answers


def postgres_answers() -> bool:
    given = settings.DATABASE_CONNINFO | {"connect_timeout": TIMEOUT_SECS}
    try:
        with psycopg.connect("", **given, autocommit=True) as conn:
            conn.execute("SELECT 1")
    except psycopg.Error:
        return False
    return True


def redis_answers() -> bool:
    client = redis.Redis.from_url(
        settings.REDIS_URL,
        socket_timeout=TIMEOUT_SECS,
        socket_connect_timeout=TIMEOUT_SECS,
    )
    try:
        with client:
            return bool(client.ping())
    except redis.RedisError:
        return False
