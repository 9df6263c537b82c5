from __future__ import annotations

from collections.abc import Callable
from typing import Any

from langgraph.runtime import get_runtime

from react_agent.context import Context


async def multiply(a: int, b: int) -> str:
    """Multiply two numbers."""
    most = get_runtime(Context).context.max_search_results
    return f"{a * b} (at most {most} results)"


TOOLS: list[Callable[..., Any]] = [multiply]
