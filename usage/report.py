"""Usage with its cost, grouped as requested."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from typing import Any

from django.db.models import Sum

from spool.usage.models import UsageRunsQuerySet, UsageTotalQuerySet
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
# The groups that `UsageRuns` has, and its numbers by their names on the wire.
GROUPS_OF_RUNS = {"owner", "assistant", "graph", "revision", "day"}
RUNS = {
    "successful_runs": "successful",
    "failed_runs": "failed",
    "timed_out_runs": "timed_out",
    "interrupted_runs": "interrupted",
    "rolled_back_runs": "rolled_back",
    "run_seconds": "seconds",
}
# The columns that a price depends on, which are added to any grouping.
PRICED_BY = ("provider", "model", "day")
CENT = Decimal("0.000001")
NO_RUNS: Mapping[str, float | None] = dict.fromkeys(RUNS)


@dataclass(slots=True)
class Group:
    tokens: Tokens = NO_TOKENS
    cost: Decimal = Decimal(0)
    # Models without a price, which `cost` leaves out.
    unpriced: set[str] = field(default_factory=set)
    # Keyed by the names in `RUNS`; None if runs can't be grouped in this way.
    runs: Mapping[str, float | None] = field(default_factory=lambda: NO_RUNS)

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
            **self.runs,
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


def report(
    totals: UsageTotalQuerySet,
    groups: Sequence[str],
    runs: UsageRunsQuerySet | None = None,
) -> dict[str, Any]:
    """Report usage by `groups`, names of `GROUPS`; without any, in one row.

    The numbers of runs are None without `runs`, or for a group that runs don't have.
    """
    found: dict[tuple[Any, ...], Group] = {}
    whole = Group()
    for part in priced(totals, [GROUPS[name] for name in groups]):
        cost = part.cost
        found.setdefault(part.key, Group()).add(part.tokens, cost, part.model)
        whole.add(part.tokens, cost, part.model)
    if runs is not None and GROUPS_OF_RUNS.issuperset(groups):
        total: dict[str, float] = dict.fromkeys(RUNS, 0)
        for group in found.values():
            group.runs = total.copy()
        for key, ended in _runs(runs, [GROUPS[name] for name in groups]):
            found.setdefault(key, Group()).runs = ended
            total = {name: total[name] + ended[name] for name in RUNS}
        whole.runs = total
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


def _runs(
    runs: UsageRunsQuerySet, columns: Sequence[str]
) -> Iterator[tuple[tuple[Any, ...], dict[str, float]]]:
    sums = {f"n_{name}": Sum(column) for name, column in RUNS.items()}
    for row in runs.values(*columns).annotate(**sums):
        ended = {name: round(row[f"n_{name}"], 3) for name in RUNS}
        yield tuple(row[column] for column in columns), ended


def _order(key: tuple[Any, ...]) -> tuple[str, ...]:
    return tuple("" if part is None else str(part) for part in key)
