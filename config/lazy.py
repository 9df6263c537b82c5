"""Optional parts, imported on first use, since not every process needs them.

Each is a Spool module that imports a large library. Here its name is a string, which
type checkers and import-linter don't follow, so a test imports all of them. A module
that holds resources of the event loop has a coroutine `close`.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Any

MODULES = (
    "spool.protocols.a2a.cards",
    "spool.protocols.a2a.endpoints",
    "spool.protocols.a2a.notifications",
    "spool.protocols.mcp.application",
    "spool.runs.worker.spans",
    "spool.telemetry.otel",
    "spool.telemetry.otel_metrics",
    "spool.usage.known_prices",
)


def load(module: str, name: str) -> Any:
    """The attribute `name` of `module`. The first call imports the module."""
    if module not in MODULES:
        raise ValueError(f"{module} is not a module that may be loaded lazily")
    return getattr(import_module(module), name)


async def close_loaded() -> None:
    """Close the resources that loaded modules hold on the running event loop."""
    for name in MODULES:
        if close := getattr(sys.modules.get(name), "close", None):
            await close()
