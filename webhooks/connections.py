"""The connections of webhooks, which are made only to allowed addresses."""

from __future__ import annotations

import asyncio
from typing import Any

import httpcore

from spool.webhooks.addresses import RESOLVERS, Policy, Refused, resolve


class CheckedNetwork(httpcore.AsyncNetworkBackend):
    """Connects to a checked address, while TLS still uses the host's name."""

    def __init__(self, rules: Policy) -> None:
        self._rules = rules
        self._network = httpcore.AnyIOBackend()

    async def connect_tcp(
        self, host: str, port: int, *args: Any, **kwargs: Any
    ) -> httpcore.AsyncNetworkStream:
        loop = asyncio.get_running_loop()
        addresses = await loop.run_in_executor(RESOLVERS, resolve, host, port)
        self._rules.check_addresses(host, addresses)
        failure: Exception = Refused(f"the host {host} can't be resolved")
        for address in addresses:
            try:
                return await self._network.connect_tcp(address, port, *args, **kwargs)
            except httpcore.NetworkError as exc:
                failure = exc
        raise failure

    async def sleep(self, seconds: float) -> None:
        await self._network.sleep(seconds)
