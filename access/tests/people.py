from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import Any

from rest_framework.test import APIClient

from spool.access.keys import create_key
from spool.config import lazy
from spool.runs.streaming.fanout import close_fanout

# How long a stream may take in the tests.
STREAM_SECS = 60


@dataclass(frozen=True)
class Person:
    identity: str
    key: str

    @classmethod
    def with_key(cls, identity: str) -> Person:
        return cls(identity, create_key(owner=identity)[1])


class Client(APIClient):
    """A JSON client with one user's API key."""

    def __init__(self, person: Person) -> None:
        super().__init__()
        self.person = person
        self.credentials(HTTP_X_API_KEY=person.key)

    def call(self, method: str, path: str, body: Any = None, **more: str) -> Any:
        """Send a request. `more` are headers, by their names in a request's `META`."""
        sent = {} if method == "get" else {"data": json.dumps(body)}
        send = getattr(self, method)
        return send(path, **sent, **more, content_type="application/json")


def streamed(response: Any) -> str:
    """The whole streamed response, read on a separate event loop."""

    async def read() -> bytes:
        try:
            async with asyncio.timeout(STREAM_SECS):
                return b"".join([part async for part in response])
        finally:
            await lazy.close_loaded()
            await close_fanout()

    return asyncio.run(read()).decode()
