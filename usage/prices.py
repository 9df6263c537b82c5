"""Prices of tokens, from the operator's price list or from genai-prices.

A model that is in neither has no price. Prices are not guessed: a self-hosted model may
have the name of a commercial one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, Protocol

from django.conf import settings
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from spool.config import lazy
from spool.config.env import stop
from spool.usage.tokens import Tokens

MILLION = Decimal(1_000_000)


@dataclass(frozen=True, slots=True)
class Rates:
    """The price of one token of each kind."""

    input: Decimal
    output: Decimal
    cached: Decimal
    cache_written: Decimal

    def cost(self, tokens: Tokens) -> Decimal:
        fresh = max(tokens.input - tokens.cached - tokens.cache_written, 0)
        return (
            fresh * self.input
            + tokens.cached * self.cached
            + tokens.cache_written * self.cache_written
            + tokens.output * self.output
        )


class PriceList(Protocol):
    currency: str
    # The source of the prices, and their date.
    source: str
    as_of: str

    def rates(
        self, provider: str, model: str, day: date, input_of_a_call: int
    ) -> Rates | None:
        """The rates on that day for a call with this much input. None if unknown."""


class _Price(BaseModel):
    """Prices per million tokens, in units of the currency."""

    model_config = ConfigDict(extra="forbid")

    input: Decimal = Field(ge=0)
    output: Decimal = Field(ge=0)
    cached: Decimal | None = Field(default=None, ge=0)
    cache_written: Decimal | None = Field(default=None, ge=0)

    def rates(self) -> Rates:
        cached = self.input if self.cached is None else self.cached
        written = self.input if self.cache_written is None else self.cache_written
        prices = (self.input, self.output, cached, written)
        return Rates(*(price / MILLION for price in prices))


class _File(BaseModel):
    """`SPOOL_PRICES_FILE`. A model is named `model`, or `provider/model`."""

    model_config = ConfigDict(extra="forbid")

    currency: str = "USD"
    date: date
    models: dict[str, _Price]


class FilePrices:
    """The operator's price list. Models that are not in it have no price."""

    def __init__(self, path: Path) -> None:
        try:
            given = _File.model_validate_json(path.read_bytes())
        except OSError as exc:
            stop(f"SPOOL_PRICES_FILE: cannot read {path}: {exc.strerror}")
        except ValidationError as exc:
            (first, *_) = exc.errors()
            place = ".".join(str(part) for part in first["loc"])
            stop(f"SPOOL_PRICES_FILE: {path}: {place}: {first['msg']}")
        self.currency, self.source = given.currency, path.name
        self.as_of = given.date.isoformat()
        self._rates: Mapping[str, Rates] = {
            name: price.rates() for name, price in given.models.items()
        }

    def rates(
        self, provider: str, model: str, day: date, input_of_a_call: int
    ) -> Rates | None:
        return self._rates.get(f"{provider}/{model}") or self._rates.get(model)


@cache
def price_list() -> PriceList:
    if settings.PRICES_FILE:
        return FilePrices(Path(settings.PRICES_FILE))
    known: Any = lazy.load("spool.usage.known_prices", "KnownPrices")
    prices: PriceList = known()
    return prices


@lru_cache(maxsize=4096)
def rates_of(
    provider: str, model: str, day: date, input_of_a_call: int
) -> Rates | None:
    return price_list().rates(provider, model, day, input_of_a_call)


def cost_of(provider: str, model: str, day: date, tokens: Tokens) -> Decimal | None:
    """The cost of these tokens on that day. None if the model has no price.

    If a price depends on the length of a call, the length of the average call is used.
    """
    average = tokens.input // max(tokens.calls, 1)
    rates = rates_of(provider, model, day, average)
    return None if rates is None else rates.cost(tokens)
