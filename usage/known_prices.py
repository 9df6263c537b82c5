"""The prices of genai-prices, which knows the prices of providers on each day.

Loaded lazily (see `config.lazy`): its list is large, and most processes don't need it.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from decimal import Decimal

import genai_prices
from genai_prices import Usage, calc_price

from spool.usage.prices import Rates


class KnownPrices:
    currency = "USD"
    source = f"genai-prices {genai_prices.__version__}"
    # genai-prices has the prices of each day.
    as_of = "day of use"

    def rates(
        self, provider: str, model: str, day: date, input_of_a_call: int
    ) -> Rates | None:
        count = max(input_of_a_call, 1)
        noon = datetime.combine(day, time(12), UTC)

        def price(**usage: int) -> tuple[Decimal, Decimal]:
            found = calc_price(
                Usage(input_tokens=count, **usage),
                model,
                provider_id=provider or None,
                genai_request_timestamp=noon,
            )
            return found.input_price / count, found.output_price

        try:
            fresh, output = price(output_tokens=1)
            cached, _ = price(cache_read_tokens=count)
            written, _ = price(cache_write_tokens=count)
        except (LookupError, ValueError):
            return None
        return Rates(input=fresh, output=output, cached=cached, cache_written=written)
