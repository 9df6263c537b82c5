"""Usage with its cost, grouped as requested."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from typing import Any

from django.db.models import Sum

from spool.usage.models import UsageTotalQuerySet
from spool.usage.prices import cost_of, price_list
from spool.usage.tokens import NO_TOKENS, Tokens

# The fields to group by: their names on the wire, and their columns.
GROUPS = {
    "owner": "owner",
    "api_key": "api_key_id",
    "assistant": "assistant_id",
    "graph": "graph_id",
    "revision": "revision",
    "node": "node",
    "provider": "provider",
    "model": "model",
    "day": "day",
}
SUMS = {
    name: Sum(name)
    for name in ("calls", "input", "output", "cached", "cache_written", "reasoning")
}
# The columns that a price depends on, for any grouping.
PRICED_BY = ("provider", "model", "day")
CENT = Decimal("0.000001")


@dataclass(slots=True)
class Group:
    tokens: Tokens = NO_TOKENS
    cost: Decimal = Decimal(0)
    # Models without a price, which `cost` leaves out.
    unpriced: set[str] = field(default_factory=set)

    def add(self, tokens: Tokens, cost: Decimal | None, model: str) -> None:
        self.tokens += tokens
        if cost is None:
            self.unpriced.add(model)
        else:
            self.cost += cost

    def as_json(self) -> dict[str, Any]:
        tokens = self.tokens
        return {
            "calls": tokens.calls,
            "input_tokens": tokens.input,
            "output_tokens": tokens.output,
            "total_tokens": tokens.total,
            "cached_tokens": tokens.cached,
            "cache_written_tokens": tokens.cache_written,
            "reasoning_tokens": tokens.reasoning,
            "cost": str(self.cost.quantize(CENT)),
            "unpriced_models": sorted(self.unpriced),
        }


@dataclass(frozen=True, slots=True)
class Priced:
    """The usage of one model on one day, within one group."""

    key: tuple[Any, ...]
    provider: str
    model: str
    day: date
    tokens: Tokens

    @property
    def cost(self) -> Decimal | None:
        return cost_of(self.provider, self.model, self.day, self.tokens)


def priced(totals: UsageTotalQuerySet, columns: Sequence[str]) -> Iterator[Priced]:
    """The sums of `totals` by `columns`, and by the columns that a price depends on."""
    by = [*dict.fromkeys((*columns, *PRICED_BY))]
    for row in totals.values(*by).annotate(**{f"n_{k}": v for k, v in SUMS.items()}):
        yield Priced(
            key=tuple(row[column] for column in columns),
            provider=row["provider"],
            model=row["model"],
            day=row["day"],
            tokens=Tokens(**{name: int(row[f"n_{name}"]) for name in SUMS}),
        )


def report(totals: UsageTotalQuerySet, groups: Sequence[str]) -> dict[str, Any]:
    """Report usage by `groups`, names of `GROUPS`; without any, in one row."""
    found: dict[tuple[Any, ...], Group] = {}
    whole = Group()
    for part in priced(totals, [GROUPS[name] for name in groups]):
        cost = part.cost
        found.setdefault(part.key, Group()).add(part.tokens, cost, part.model)
        whole.add(part.tokens, cost, part.model)
    rows = [
        {**dict(zip(groups, key, strict=True)), **group.as_json()}
        for key, group in sorted(found.items(), key=lambda item: _order(item[0]))
    ]
    prices = price_list()
    return {
        "currency": prices.currency,
        "prices": {"source": prices.source, "date": prices.as_of},
        "usage": rows,
        "total": whole.as_json(),
    }


def _order(key: tuple[Any, ...]) -> tuple[str, ...]:
    return tuple("" if part is None else str(part) for part in key)
