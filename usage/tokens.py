"""Tokens of model calls, as reported by the models (`usage_metadata`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

# A higher number is a bug of the model, and sums must fit into Postgres' `bigint`.
MAX_REPORTED = 2**40


@dataclass(frozen=True, slots=True)
class Tokens:
    """Numbers of tokens. `cached` and `cache_written` are part of `input`, and
    `reasoning` is part of `output`.
    """

    calls: int = 0
    input: int = 0
    output: int = 0
    cached: int = 0
    cache_written: int = 0
    reasoning: int = 0

    def __add__(self, other: Tokens) -> Tokens:
        return Tokens(
            self.calls + other.calls,
            self.input + other.input,
            self.output + other.output,
            self.cached + other.cached,
            self.cache_written + other.cache_written,
            self.reasoning + other.reasoning,
        )

    @property
    def total(self) -> int:
        return self.input + self.output

    def as_json(self) -> dict[str, int]:
        return asdict(self)


NO_TOKENS = Tokens()


def tokens_of_call(reported: Any) -> Tokens:
    """The tokens of one call, from a LangChain `UsageMetadata` or None."""
    if not isinstance(reported, Mapping):
        return Tokens(calls=1)
    of_input = reported.get("input_token_details")
    of_output = reported.get("output_token_details")
    return Tokens(
        calls=1,
        input=_count(reported, "input_tokens"),
        output=_count(reported, "output_tokens"),
        cached=_count(of_input, "cache_read"),
        cache_written=_count(of_input, "cache_creation"),
        reasoning=_count(of_output, "reasoning"),
    )


def _count(reported: Any, name: str) -> int:
    found = reported.get(name) if isinstance(reported, Mapping) else None
    if not isinstance(found, int) or isinstance(found, bool):
        return 0
    return min(max(found, 0), MAX_REPORTED)
