"""Budgets: how much an owner or an API key may use in a day or a month (of UTC)."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from functools import cache
from uuid import UUID

from django.db.models import Q
from django.utils import timezone
from rest_framework.exceptions import APIException

from spool.usage.models import Budget, UsageTotal
from spool.usage.prices import price_list
from spool.usage.report import Priced, priced

logger = logging.getLogger(__name__)

# How long a process caches whether there are any budgets.
REMEMBERED_SECS = 2.0


@dataclass(frozen=True, slots=True)
class Payer:
    """The owner and API key whose budgets apply to a run."""

    owner: str
    api_key_id: UUID | None


@dataclass(frozen=True, slots=True)
class Standing:
    """A budget, and how much of it is used."""

    budget: Budget
    used: Decimal

    @property
    def is_used_up(self) -> bool:
        return self.used >= self.budget.limit

    @property
    def part(self) -> float:
        """The used fraction of the limit; 1 or more if it is used up."""
        return float(self.used / self.budget.limit) if self.budget.limit else 1.0

    def __str__(self) -> str:
        budget = self.budget
        is_money = budget.unit == Budget.Unit.MONEY
        unit = price_list().currency if is_money else "tokens"
        whose = "API key" if budget.api_key_id else "owner"
        return (
            f"{_number(self.used)} of {_number(budget.limit)} {unit} used by this "
            f"{whose} this {budget.period}"
        )


class BudgetExceeded(APIException):
    """A run is refused because a budget of its owner or API key is used up."""

    status_code = 402

    def __init__(self, standing: Standing) -> None:
        super().__init__(f"Budget exceeded: {standing}")


class _Known:
    """Caches whether there are any budgets: without them, checks cost nothing."""

    def __init__(self) -> None:
        self._until, self._any = 0.0, False

    def any(self) -> bool:
        if time.monotonic() >= self._until:
            self._any = Budget.objects.exists()
            self._until = time.monotonic() + REMEMBERED_SECS
        return self._any

    def forget(self) -> None:
        self._until = 0.0


known = _Known()


def check(payer: Payer) -> None:
    """Raise `BudgetExceeded` if one of the payer's budgets is used up."""
    if standing := used_up(payer):
        raise BudgetExceeded(standing)


def used_up(payer: Payer) -> Standing | None:
    """The first of the payer's budgets that is used up."""
    if not known.any():
        return None
    return next((s for s in standings(payer) if s.is_used_up), None)


def standings(payer: Payer) -> list[Standing]:
    of_payer = Q(pk__in=[])
    if payer.owner:
        of_payer |= Q(owner=payer.owner)
    if payer.api_key_id:
        of_payer |= Q(api_key_id=payer.api_key_id)
    return [
        Standing(budget, _used(budget)) for budget in Budget.objects.filter(of_payer)
    ]


# At most this many budgets are compared.
MAX_COMPARED = 500


def nearest_to_limit(count: int) -> list[Standing]:
    """The budgets with the largest used fractions, in at most three statements."""
    budgets = list(Budget.objects.order_by("created_at")[:MAX_COMPARED])
    if not budgets:
        return []
    month = UsageTotal.objects.filter(day__gte=_first_day(Budget.Period.MONTH))
    by_payer: dict[object, list[Priced]] = {}
    for column, names in (
        ("owner", {one.owner for one in budgets if one.owner}),
        ("api_key_id", {one.api_key_id for one in budgets if one.api_key_id}),
    ):
        if names:
            limited = month.filter(**{f"{column}__in": names})
            for part in priced(limited, [column]):
                by_payer.setdefault(part.key[0], []).append(part)
    found = [
        Standing(one, _sum(one, by_payer.get(one.api_key_id or one.owner, [])))
        for one in budgets
    ]
    return sorted(found, key=lambda one: one.part, reverse=True)[:count]


def payers_with_budgets(payers: Iterable[Payer]) -> list[Payer]:
    """Filter `payers`: return only those that have budgets."""
    given = set(payers)
    limited = Budget.objects.filter(
        Q(owner__in=[p.owner for p in given if p.owner])
        | Q(api_key_id__in=[p.api_key_id for p in given if p.api_key_id])
    )
    owners, keys = set(), set()
    for owner, api_key_id in limited.values_list("owner", "api_key_id"):
        owners.add(owner)
        keys.add(api_key_id)
    owners.discard("")
    keys.discard(None)
    return [p for p in given if p.owner in owners or p.api_key_id in keys]


def _used(budget: Budget) -> Decimal:
    totals = UsageTotal.objects.filter(day__gte=_first_day(budget.period))
    if budget.api_key_id:
        totals = totals.filter(api_key_id=budget.api_key_id)
    else:
        totals = totals.of_owner(budget.owner)
    return _sum(budget, priced(totals, []))


def _sum(budget: Budget, usage: Iterable[Priced]) -> Decimal:
    """The used amount, in the budget's unit. `usage` may begin before its period."""
    first = _first_day(budget.period)
    parts = [part for part in usage if part.day >= first]
    if budget.unit == Budget.Unit.TOKENS:
        return Decimal(sum(part.tokens.total for part in parts))
    return sum((_cost(part) for part in parts), Decimal(0))


def _cost(part: Priced) -> Decimal:
    if (cost := part.cost) is not None:
        return cost
    _say_unpriced(part.provider, part.model)
    return Decimal(0)


@cache
def _say_unpriced(provider: str, model: str) -> None:
    """Warn once per process: budgets of money count only models that have a price."""
    logger.warning(
        "model %r of provider %r has no price, and does not count towards budgets of "
        "money; add it to SPOOL_PRICES_FILE",
        model,
        provider,
    )


def _first_day(period: str) -> date:
    today = timezone.now().date()
    return today if period == Budget.Period.DAY else today.replace(day=1)


def _number(value: Decimal) -> str:
    text = f"{value:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
