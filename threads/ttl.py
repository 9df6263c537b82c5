"""How long threads live: `checkpointer.ttl` in langgraph.json, or a TTL of their own.

A thread's time begins anew with each run, and with its end. A run also gives the
configured TTL to a thread from before there was one; threads that nobody runs any more
keep as they are.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.conf import settings

from spool.config.env import stop
from spool.config.langgraph_json import section
from spool.threads.models import Thread

# A century: later than that, Postgres runs out of dates.
MAX_MINUTES = 100 * 365 * 24 * 60


@dataclass(frozen=True)
class TTLConfig:
    """`checkpointer.ttl`. None: threads live for ever, or what Spool does by itself."""

    minutes: float | None = None
    strategy: str = Thread.TTLStrategy.DELETE
    sweep_interval: timedelta | None = None
    sweep_limit: int | None = None


def ttl_config() -> TTLConfig:
    """Read langgraph.json. A value that makes no sense stops the process."""
    given = section("checkpointer").get("ttl") or {}
    if not isinstance(given, dict):
        _refuse("must be an object")
    strategy = given.get("strategy") or Thread.TTLStrategy.DELETE
    if strategy not in Thread.TTLStrategy.values:
        _refuse(f"strategy must be delete or keep_latest, not {strategy!r}")
    interval = _positive(given, "sweep_interval_minutes")
    limit = _positive(given, "sweep_limit")
    return TTLConfig(
        minutes=_positive(given, "default_ttl"),
        strategy=strategy,
        sweep_interval=timedelta(minutes=interval) if interval else None,
        sweep_limit=int(limit) if limit else None,
    )


def ttl_params(own: dict[str, Any] | None = None) -> dict[str, Any]:
    """A TTL as parameters for a statement: a thread's own, or the configured one."""
    if own:
        return {"ttl_minutes": own["ttl"], "ttl_strategy": own["strategy"]}
    config = ttl_config()
    return {"ttl_minutes": config.minutes, "ttl_strategy": config.strategy}


def _positive(given: dict[str, Any], key: str) -> float | None:
    value = given.get(key)
    if value is None:
        return None
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not is_number or not 0 < value <= MAX_MINUTES:
        _refuse(f"{key} must be a positive number, not {value!r}")
    return float(value)


def _refuse(problem: str) -> None:
    stop(f"{settings.LANGGRAPH_CONFIG}: checkpointer.ttl: {problem}")
