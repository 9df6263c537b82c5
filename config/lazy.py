"""Parts that not every process needs, imported when one of them is first used.

Each is a module of ours that imports a large library. Its name is a string here, which
neither type checkers nor import-linter follow: a test imports all of them. One that
holds something of the event loop has a coroutine `close`.
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
    "spool.usage.known_prices",
)


def load(module: str, name: str) -> Any:
    """What `module` calls `name`. The first call for a module takes its time."""
    if module not in MODULES:
        raise ValueError(f"{module} is not one of the modules that are loaded late")
    return getattr(import_module(module), name)


async def close_loaded() -> None:
    """Have each that was used give back what it holds of the running event loop."""
    for name in MODULES:
        if close := getattr(sys.modules.get(name), "close", None):
            await close()
