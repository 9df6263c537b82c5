"""Clients of event streaming that are cut off repeatedly, and continue with `since`."""

from __future__ import annotations

import asyncio
import json
import random
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any
from uuid import uuid4

import aiohttp

from spool.runs.lifecycle import SEQS_OF_ATTEMPT
from spool.tests.company import STEPS
from spool.tests.compat.streaming import ends_run

# The minimum and maximum duration of a connection, in seconds.
CUT_AFTER_SECS = (0.3, 3.0)
# How often a connection that receives nothing doubles the duration of the next one.
# Without this, a server with little CPU might never get to an answer.
MAX_DOUBLINGS = 4
RETRY_SECS = 0.1
TRANSPORTS = ("sse", "websocket")
CHANNELS = ["lifecycle", "values", "custom"]


class Refused(Exception):
    """The server has refused the stream in a way that clients don't retry."""


@dataclass
class Client:
    """One stream of a thread. It moves between the web processes at `urls`."""

    urls: list[str]
    thread_id: str
    run_id: str
    transport: str
    chance: random.Random
    events: list[dict[str, Any]] = field(default_factory=list)
    connections: int = 0

    @property
    def is_done(self) -> bool:
        return any(self._ends(event) for event in self.events[-2:])

    def _ends(self, event: dict[str, Any]) -> bool:
        return ends_run(event) and self.run_id in event["event_id"]

    async def watch(self, session: aiohttp.ClientSession) -> None:
        open_stream = {"sse": self._sse, "websocket": self._websocket}[self.transport]
        in_vain = 0
        while not self.is_done:
            before = len(self.events)
            lasts = self.chance.uniform(*CUT_AFTER_SECS) * 2**in_vain
            with suppress(TimeoutError, aiohttp.ClientError, OSError):
                async with asyncio.timeout(lasts):
                    await self._read(open_stream(session))
            has_more = len(self.events) > before
            in_vain = 0 if has_more else min(in_vain + 1, MAX_DOUBLINGS)
            await asyncio.sleep(RETRY_SECS)

    async def _read(self, events: AsyncIterator[dict[str, Any]]) -> None:
        self.connections += 1
        async for event in events:
            self.events.append(event)
            if self.is_done:
                return

    def _wanted(self) -> dict[str, Any]:
        since = self.events[-1]["seq"] if self.events else 0
        return {"channels": CHANNELS, "since": since}

    def _url(self) -> str:
        base = self.chance.choice(self.urls)
        return f"{base}/threads/{self.thread_id}/stream/events"

    async def _sse(
        self, session: aiohttp.ClientSession
    ) -> AsyncIterator[dict[str, Any]]:
        async with session.post(self._url(), json=self._wanted()) as response:
            _check(response.status)
            async for line in response.content:
                if line.startswith(b"data: "):
                    yield json.loads(line.removeprefix(b"data: "))

    async def _websocket(
        self, session: aiohttp.ClientSession
    ) -> AsyncIterator[dict[str, Any]]:
        async with session.ws_connect(self._url()) as connection:
            command = {"id": 1, "method": "subscription.subscribe"}
            try:
                await connection.send_json({**command, "params": self._wanted()})
                async for message in connection:
                    told = json.loads(message.data)
                    if told["type"] == "event":
                        yield told
            finally:
                # Cut it like a network failure, without a closing handshake.
                if found := connection.get_extra_info("socket"):
                    with suppress(OSError):
                        found.shutdown(socket.SHUT_RDWR)
            if code := connection.close_code:
                _check(code - 4000)


def _check(status: int) -> None:
    if 400 <= status < 500 and status not in (408, 429):
        raise Refused(status)


async def start(
    session: aiohttp.ClientSession, url: str, thread_id: str, given: dict[str, Any]
) -> str:
    """Start a run of `counting` by a command. Return its id."""
    params = {"assistant_id": "counting", "input": given}
    command = {"id": 1, "method": "run.start", "params": params}
    path = f"{url}/threads/{thread_id}/commands"
    async with session.post(path, json=command) as response:
        answer = await response.json()
    run_id: str = answer["result"]["run_id"]
    return run_id


@asynccontextmanager
async def storming(
    urls: list[str], *, threads: int, each: int, count: int
) -> AsyncIterator[list[Client]]:
    """Clients of `threads` runs, `each` with both transports, until all are done."""
    chance = random.Random(18)  # noqa: S311 - not a secret
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=5)
    connector = aiohttp.TCPConnector(limit=0, force_close=True)
    async with aiohttp.ClientSession(timeout=timeout, connector=connector) as session:
        clients = []
        for thread_id in (str(uuid4()) for _ in range(threads)):
            given = {"count": count, "delay": 0.1}
            run_id = await start(session, urls[0], thread_id, given)
            for transport in TRANSPORTS * each:
                own = random.Random(chance.random())  # noqa: S311
                clients.append(Client(urls, thread_id, run_id, transport, own))
        async with asyncio.TaskGroup() as watching:
            for client in clients:
                watching.create_task(client.watch(session))
            yield clients
            await until(lambda: [one for one in clients if not one.is_done])


async def have_more(clients: list[Client]) -> None:
    """Wait until each client has received a few more events."""
    seen = [(client, len(client.events) + 3) for client in clients]
    await until(
        lambda: [
            one for one, count in seen if not one.is_done and len(one.events) < count
        ]
    )


async def until(laggards: Callable[[], list[Client]], seconds: float = 90) -> None:
    """Wait until there are no more of these clients."""
    deadline = time.monotonic() + seconds
    while left := laggards():
        if time.monotonic() > deadline:
            lines = [f"{one.transport} {one.run_id} {one.events[-2:]}" for one in left]
            raise TimeoutError("\n".join([f"{len(left)} streams stand still:", *lines]))
        await asyncio.sleep(0.05)


# --- What a client must have received ---------------------------------------------------
def check(events: list[dict[str, Any]], count: int) -> None:
    """Check that these are all events of a run of `counting`, in order and once.

    A step that begins again is published again from its beginning, after the values
    before it: a worker may be killed before it has saved the step's end. Only a snapshot
    may replace missing events.
    """
    numbers = [event["seq"] for event in events]
    assert numbers == sorted(set(numbers))
    assert [event for event in events if ends_run(event)] == events[-1:]
    assert events[-1]["params"]["data"]["event"] == "completed"
    values = [event for event in events if event["method"] == "values"]
    assert values[-1]["params"]["data"]["log"] == STEPS
    for before, after in pairwise(values):
        is_another_attempt = _attempt(after) > _attempt(before)
        assert is_another_attempt or _steps(before) <= _steps(after), (before, after)
    next_tick = 0
    for event in [*events]:
        if is_snapshot(event):
            next_tick = -1
        elif event["method"] == "custom":
            tick = _tick(event, count)
            is_next = next_tick in (-1, tick)
            is_again = tick % count == 0 and tick < next_tick
            assert is_next or is_again, (next_tick, event)
            next_tick = tick + 1
    assert next_tick in (-1, len(STEPS) * count)


def _attempt(event: dict[str, Any]) -> int:
    return int(event["seq"] // SEQS_OF_ATTEMPT)


def _steps(event: dict[str, Any]) -> int:
    """The number of ended steps in the values of an event."""
    return len(event["params"]["data"].get("log") or ())


def is_snapshot(event: dict[str, Any]) -> bool:
    return ":snapshot|" in event["event_id"]


def _tick(event: dict[str, Any], count: int) -> int:
    """The number of the tick among all ticks of the run."""
    data = event["params"]["data"]
    return int((data["step"] - 1) * count + data["tick"])


def check_same(clients: list[Client]) -> None:
    """Check that each number belongs to the same event for all clients."""
    known: dict[tuple[str, int], dict[str, Any]] = {}
    for client in clients:
        for event in filter(lambda one: not is_snapshot(one), client.events):
            key = client.thread_id, event["seq"]
            assert known.setdefault(key, event) == event
