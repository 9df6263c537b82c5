"""Event streaming: a run with two subscribers, a token, and idle subscribers."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any

import aiohttp

from spool.bench.client import Client
from spool.bench.measure import STREAMS, TOKENS, Benchmark, Row, a_few_at_once

# The channels of the official clients' two subscriptions: a run's state and its output.
WATCHER = ["lifecycle", "input"]
VALUES = ["values", "lifecycle"]
ENDS = ("completed", "failed", "interrupted")
ROUNDS = 4


class Subscribers:
    """Starts runs by command and reads their events, as official clients do."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def run(self, text: str = "hi", graph: str = "echo", *also: list[str]) -> int:
        """Start a run on a new thread, with a subscriber for each choice of channels.

        Return the number of events that the last subscriber has received.
        """
        thread_id = str(uuid.uuid4())
        messages = [{"role": "user", "content": text}]
        params = {"assistant_id": graph, "input": {"messages": messages}}
        command = {"id": 1, "method": "run.start", "params": params}
        path = f"/threads/{thread_id}/commands"
        answer = await self._client.call("POST", path, command)
        if answer["type"] != "success":
            raise RuntimeError(f"the run was refused: {answer}")
        counts = await asyncio.gather(*(self._events(thread_id, one) for one in also))
        return counts[-1]

    async def _events(self, thread_id: str, channels: list[str]) -> int:
        count = 0
        body = {"channels": channels}
        path = f"/threads/{thread_id}/stream/events"
        async with self._client.post(path, body) as response:
            async for line in response.content:
                if not line.startswith(b"data: "):
                    continue
                count += 1
                if b'"lifecycle"' in line and _ends(json.loads(line[6:])):
                    break
        return count


def _ends(event: dict[str, Any]) -> bool:
    params = event["params"]
    if event["method"] != "lifecycle" or params["namespace"]:
        return False
    if params["data"]["event"] == "failed":
        raise RuntimeError("the run failed")
    return params["data"]["event"] in ENDS


async def run_row(benchmark: Benchmark) -> list[Row]:
    """Measure a run of `run.start` with two subscribers, and one of `/runs/stream`."""
    client, meter, runs = benchmark.client, benchmark.meter, benchmark.runs
    subscribers = Subscribers(client)

    async def started() -> float:
        return await subscribers.run("hi", "echo", WATCHER, VALUES)

    async def streamed() -> float:
        return (await client.stream(await client.new_thread())).total_secs

    async def cpu_ms(one: Callable[[], Awaitable[float]]) -> float:
        cpu = meter.cpu_secs()
        await a_few_at_once([one] * (runs // ROUNDS))
        return 1000 * (meter.cpu_secs() - cpu) / (runs // ROUNDS)

    await a_few_at_once([started] * STREAMS)
    # Measure both in turns, since a machine's speed drifts.
    each = [(await cpu_ms(started), await cpu_ms(streamed)) for _ in range(ROUNDS)]
    ours, others = (sum(column) / ROUNDS for column in zip(*each, strict=True))
    details = {"CPU ms": ours, "on /runs/stream": others}
    name = "a run of run.start with two subscribers"
    return [Row(name, ours / others, "times", 1.5, details=details)]


async def token_row(benchmark: Benchmark) -> list[Row]:
    meter, subscribers = benchmark.meter, Subscribers(benchmark.client)
    await subscribers.run("10", "tokens", ["messages", "lifecycle"])
    cpu = meter.cpu_secs()
    events = await subscribers.run(str(TOKENS), "tokens", ["messages", "lifecycle"])
    cpu_ms = 1000 * (meter.cpu_secs() - cpu) / events
    details = {"LangGraph alone": benchmark.floor.protocol_token_ms()}
    return [Row("a token on event streaming", cpu_ms, "ms CPU", 0.37, details=details)]


async def subscribed(
    session: aiohttp.ClientSession, thread_id: str, transport: str
) -> AsyncGenerator[bytes, None]:
    """The data that an idle subscriber receives once it is subscribed."""
    path = f"/threads/{thread_id}/stream/events"
    if transport == "sse":
        async with session.post(path, json={"channels": VALUES}) as response:
            response.raise_for_status()
            yield b""
            async for line in response.content:
                yield line
        return
    # Offer compression, as browsers and the official clients do.
    async with session.ws_connect(path, compress=15, autoping=True) as connection:
        params = {"channels": VALUES}
        command = {"id": 1, "method": "subscription.subscribe", "params": params}
        await connection.send_json(command)
        async for message in connection:
            yield str(message.data).encode()
