"""How long threads live: `checkpointer.ttl` in langgraph.json, or a TTL of their own.

A thread's TTL restarts when a run is created, and when it ends. A thread that was
created before a TTL was configured gets the configured TTL with its next run; without a
new run it never expires.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from spool.config.langgraph_json import langgraph_json
from spool.threads.models import Thread


@dataclass(frozen=True, slots=True)
class TTL:
    """A thread's own TTL."""

    minutes: float
    strategy: str = Thread.TTLStrategy.DELETE


@dataclass(frozen=True)
class TTLConfig:
    """`checkpointer.ttl`. None: threads never expire, or Spool's default applies."""

    minutes: float | None = None
    strategy: str = Thread.TTLStrategy.DELETE
    sweep_interval: timedelta | None = None
    sweep_limit: int | None = None


def ttl_config() -> TTLConfig:
    """The TTL settings of langgraph.json."""
    options = langgraph_json().checkpointer.ttl
    interval, limit = options.sweep_interval_minutes, options.sweep_limit
    return TTLConfig(
        minutes=options.default_ttl,
        strategy=options.strategy,
        sweep_interval=timedelta(minutes=interval) if interval else None,
        sweep_limit=int(limit) if limit else None,
    )


def ttl_params(own: TTL | None = None) -> dict[str, Any]:
    """A TTL as parameters for a statement: a thread's own, or the configured one."""
    ttl = own or ttl_config()
    return {"ttl_minutes": ttl.minutes, "ttl_strategy": ttl.strategy}
