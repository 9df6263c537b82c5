"""The requests of the benchmark, with a minimal client."""

from __future__ import annotations

import time
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Self

import aiohttp

INPUT = {"messages": [{"role": "user", "content": "hi"}]}
ENDED = {"success", "error", "timeout", "interrupted"}


@dataclass(frozen=True)
class Streamed:
    first_secs: float
    total_secs: float
    events: int


class Client:
    def __init__(self, url: str) -> None:
        self._session = aiohttp.ClientSession(
            url,
            # Shorter than the server's timeout, or the server might close a connection
            # that is just being used.
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=2),
            timeout=aiohttp.ClientTimeout(total=120),
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    async def call(self, method: str, path: str, body: Any = None) -> Any:
        async with self._session.request(method, path, json=body) as response:
            response.raise_for_status()
            if response.content_type == "application/json":
                return await response.json()
            return await response.read()

    def post(self, path: str, body: Any) -> AbstractAsyncContextManager[Any]:
        """Send a request; the response is read as it arrives."""
        return self._session.post(path, json=body, raise_for_status=True)

    async def new_thread(self) -> str:
        thread_id: str = (await self.call("POST", "/threads", {}))["thread_id"]
        return thread_id

    async def wait(self, thread_id: str) -> float:
        """Return the seconds until the run's result arrives."""
        body = {"assistant_id": "echo", "input": INPUT}
        begun = time.perf_counter()
        values = await self.call("POST", f"/threads/{thread_id}/runs/wait", body)
        if "messages" not in values:
            raise RuntimeError(f"the run failed: {values}")
        return time.perf_counter() - begun

    async def start(self, thread_id: str) -> str:
        body = {"assistant_id": "echo", "input": INPUT}
        run = await self.call("POST", f"/threads/{thread_id}/runs", body)
        run_id: str = run["run_id"]
        return run_id

    async def run_status(self, thread_id: str, run_id: str) -> str:
        run = await self.call("GET", f"/threads/{thread_id}/runs/{run_id}")
        status: str = run["status"]
        return status

    async def stream(
        self,
        thread_id: str,
        text: str = "hi",
        graph: str = "echo",
        mode: str = "values",
    ) -> Streamed:
        body = {
            "assistant_id": graph,
            "input": {"messages": [{"role": "user", "content": text}]},
            "stream_mode": [mode],
        }
        path = f"/threads/{thread_id}/runs/stream"
        begun = time.perf_counter()
        moments = []
        async with self._session.post(path, json=body) as response:
            response.raise_for_status()
            async for line in response.content:
                if line.startswith(b"event: error"):
                    raise RuntimeError("the run failed")
                if line.startswith(b"event:"):
                    moments.append(time.perf_counter())
        return Streamed(moments[0] - begun, time.perf_counter() - begun, len(moments))
