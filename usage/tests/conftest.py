from __future__ import annotations

from collections.abc import Iterator

import pytest

from spool.usage import prices


@pytest.fixture(autouse=True)
def _no_prices_are_remembered() -> Iterator[None]:
    yield
    prices.price_list.cache_clear()
    prices.rates_of.cache_clear()
