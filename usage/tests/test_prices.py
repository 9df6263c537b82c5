"""The cost of tokens."""

from __future__ import annotations

import json
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from django.conf import LazySettings

from spool.usage.prices import cost_of, price_list
from spool.usage.tokens import Tokens

DAY = date(2026, 1, 15)
MIXED = Tokens(calls=2, input=2000, output=300, cached=400, cache_written=0)


@pytest.fixture
def priced(tmp_path: Path, settings: LazySettings) -> Any:
    def write(**given: Any) -> None:
        path = tmp_path / "prices.json"
        path.write_text(json.dumps({"date": "2026-01-01", **given}))
        settings.PRICES_FILE = str(path)

    return write


def test_known_models_have_the_prices_of_the_day() -> None:
    # Per million: 2.50 for input, 1.25 for cached input, 10 for output.
    expected = Decimal(1600 * 2.5 + 400 * 1.25 + 300 * 10) / 1_000_000

    assert cost_of("openai", "gpt-4o", DAY, MIXED) == expected


@pytest.mark.parametrize(
    ("provider", "model"),
    [("openai", "tiny-1"), ("tiny", "gpt-4o"), ("ollama", "llama3"), ("", "tiny-1")],
)
def test_an_unknown_model_has_no_price(provider: str, model: str) -> None:
    assert cost_of(provider, model, DAY, MIXED) is None


def test_a_call_that_is_longer_may_cost_more_a_token() -> None:
    short = Tokens(calls=1, input=1000)
    long = Tokens(calls=1, input=500_000)

    a = cost_of("google", "gemini-2.5-pro", DAY, short)
    b = cost_of("google", "gemini-2.5-pro", DAY, long)

    assert a is not None
    assert b is not None
    assert b > 500 * a
    # The price for long calls does not apply to many short ones.
    assert cost_of("google", "gemini-2.5-pro", DAY, Tokens(500, 500_000)) == 500 * a


def test_a_price_list_of_ones_own_goes_before(priced: Any) -> None:
    priced(
        currency="EUR",
        models={
            "tiny-1": {"input": 1, "output": 2, "cached": "0.1"},
            "big/tiny-1": {"input": 100, "output": 200},
        },
    )

    cost = Decimal("0.0016") + Decimal("0.00004") + Decimal("0.0006")
    assert cost_of("tiny", "tiny-1", DAY, MIXED) == cost
    assert cost_of("big", "tiny-1", DAY, MIXED) == Decimal("0.26")
    assert cost_of("openai", "gpt-4o", DAY, MIXED) is None
    assert (price_list().currency, price_list().as_of) == ("EUR", "2026-01-01")


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"models": {"tiny-1": {"input": -1, "output": 2}}}, "models.tiny-1.input"),
        ({"models": {"tiny-1": {"input": 1}}}, "models.tiny-1.output"),
        ({"models": {}, "curency": "EUR"}, "curency"),
        ({"models": {}, "date": "soon"}, "date"),
    ],
)
def test_a_bad_price_list_stops_the_start(
    priced: Any, given: dict[str, Any], named: str
) -> None:
    priced(**given)

    with pytest.raises(SystemExit, match=named):
        price_list()


def test_a_price_list_that_is_not_there_stops_the_start(settings: LazySettings) -> None:
    settings.PRICES_FILE = "/nowhere/prices.json"

    with pytest.raises(SystemExit, match="SPOOL_PRICES_FILE: cannot read"):
        price_list()
