"""How long items live: `store.ttl` in langgraph.json."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, NoReturn

from django.conf import settings
from langgraph.store.base import TTLConfig

from spool.config.env import stop
from spool.config.langgraph_json import section

MAX_TTL_MINUTES = 100 * 365 * 24 * 60


def ttl_config() -> TTLConfig:
    """What is configured. A bad value stops the process with one line."""
    given: Any = section("store").get("ttl") or {}
    if not isinstance(given, dict):
        _stop("must be an object", given)
    config = TTLConfig(refresh_on_read=given.get("refresh_on_read", True))
    if not isinstance(config["refresh_on_read"], bool):
        _stop("refresh_on_read must be true or false", given["refresh_on_read"])
    if (default := given.get("default_ttl")) is not None:
        config["default_ttl"] = _minutes("default_ttl", default)
    if (every := given.get("sweep_interval_minutes")) is not None:
        config["sweep_interval_minutes"] = _minutes("sweep_interval_minutes", every)
    return config


def sweep_interval() -> timedelta | None:
    minutes = ttl_config().get("sweep_interval_minutes")
    return timedelta(minutes=minutes) if minutes else None


def is_ttl(minutes: Any) -> bool:
    is_number = isinstance(minutes, (int, float)) and not isinstance(minutes, bool)
    return is_number and 0 < minutes <= MAX_TTL_MINUTES


def _minutes(name: str, given: Any) -> Any:
    if not is_ttl(given):
        _stop(f"{name} must be a positive number of minutes", given)
    return given


def _stop(problem: str, given: Any) -> NoReturn:
    stop(f"{settings.LANGGRAPH_CONFIG}: store.ttl: {problem}, not {given!r}")
