from __future__ import annotations

import os
from dataclasses import dataclass, field, fields
from typing import Annotated


@dataclass(kw_only=True)
class Context:
    """What each assistant of the agent may set."""

    system_prompt: str = field(
        default="You are helpful.",
        metadata={"description": "What the agent is told first."},
    )
    model: Annotated[str, {"__template_metadata__": {"kind": "llm"}}] = field(
        default="fake/calculator", metadata={"description": "provider/name"}
    )
    max_search_results: int = 10

    def __post_init__(self) -> None:
        for one in fields(self):
            if one.init and getattr(self, one.name) == one.default:
                given = os.environ.get(one.name.upper(), one.default)
                setattr(self, one.name, given)
