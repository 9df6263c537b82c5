"""How long items live: `store.ttl` in langgraph.json."""

from __future__ import annotations

import math
from datetime import timedelta
from typing import Any, cast

from langgraph.store.base import TTLConfig

from spool.config.langgraph_json import langgraph_json

TTL_KEYS = {"refresh_on_read", "default_ttl", "sweep_interval_minutes"}
# A longer time means for ever, because Postgres's dates have a maximum.
MAX_TTL_MINUTES = 1000 * 365 * 24 * 60


def ttl_config() -> TTLConfig:
    """The configuration, in the format of LangGraph's stores."""
    given = langgraph_json().store.ttl
    return cast("TTLConfig", given.model_dump(exclude_none=True, include=TTL_KEYS))


def sweep_interval() -> timedelta | None:
    minutes = ttl_config().get("sweep_interval_minutes")
    return timedelta(minutes=minutes) if minutes else None


def is_ttl(minutes: Any) -> bool:
    is_number = isinstance(minutes, (int, float)) and not isinstance(minutes, bool)
    return is_number and 0 < minutes < math.inf
