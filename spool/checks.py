"""Checks of `manage.py check`: servers are available, and every graph can be loaded."""

from __future__ import annotations

from typing import Any

from django.core.checks import CheckMessage, Error
from django.db import OperationalError, connection
from redis.exceptions import RedisError

from spool.assistants.graphs import registry
from spool.runs.streaming.events import redis_client

MIN_POSTGRES_VERSION = 15
MEND_GRAPH = (
    "Correct langgraph.json, or the file that it names; its path is LANGGRAPH_CONFIG."
)


def check_database(**kwargs: Any) -> list[CheckMessage]:
    try:
        connection.ensure_connection()
    except OperationalError as exc:
        text = (
            f"cannot reach Postgres (DATABASE_URL): {str(exc).strip().splitlines()[0]}"
        )
        return [Error(text, hint="Set DATABASE_URL.", id="runs.E001")]
    version = connection.get_database_version()[0]
    if version < MIN_POSTGRES_VERSION:
        text = (
            f"Postgres {version} is too old: {MIN_POSTGRES_VERSION} or newer is needed"
        )
        return [Error(text, hint="Set DATABASE_URL.", id="runs.E002")]
    return []


def check_broker(**kwargs: Any) -> list[CheckMessage]:
    try:
        redis_client().ping()
    except (RedisError, OSError, ValueError) as exc:  # Or an invalid URL.
        return [
            Error(
                f"cannot reach Redis (REDIS_URL): {exc}",
                hint="Set REDIS_URL.",
                id="runs.E003",
            )
        ]
    return []


def check_graphs(**kwargs: Any) -> list[CheckMessage]:
    try:
        registry()
    except SystemExit as exc:
        text = str(exc).removeprefix("spool: ")
        return [Error(text, hint=MEND_GRAPH, id="assistants.E001")]
    return []
