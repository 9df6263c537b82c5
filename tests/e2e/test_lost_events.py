"""Viewers that reconnect get every event once, in order, whatever fails meanwhile.

Redis dies, hangs, loses data or is full; the worker dies, or hangs for longer than its
lease.
"""

from __future__ import annotations

import asyncio
import json
import random
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis

from spool.tests.company import Company, Run, has_begun, hold
from spool.tests.compat.wire import parse
from spool.tests.live import WAIT_SECS, wait_until

pytestmark = pytest.mark.e2e

TICKS = 100
VIEWERS = 50
HANG_SECS = 3.0  # Longer than REDIS_TIMEOUT_SECS.


def client(company: Company) -> redis.Redis:
    return redis.Redis.from_url(company.server.environment()["REDIS_URL"])


def forget(company: Company) -> None:
    with client(company) as found:
        found.flushall()


def die(company: Company) -> None:
    [valkey] = company.servers("valkey")
    valkey.kill()


def hang(company: Company) -> None:
    [valkey] = company.servers("valkey")
    valkey.suspend()
    time.sleep(HANG_SECS)
    valkey.resume()


def be_full(company: Company) -> None:
    with client(company) as found:
        kept: Any = found.config_get("maxmemory*")
        found.config_set("maxmemory-policy", "noeviction")
        found.config_set("maxmemory", 1)
        time.sleep(1)
        for name in ("maxmemory", "maxmemory-policy"):
            found.config_set(name, kept[name])


def lose_worker(company: Company) -> None:
    company.replace()


def stop_worker(company: Company) -> None:
    """Suspend the worker until another one has taken its runs, and then resume it."""
    [worker] = company.workers
    # Suspend it before another one starts, since the run might end meanwhile.
    worker.send(signal.SIGSTOP)
    company.hire()
    wait_until(lambda: worker.pid in company.expired())
    worker.send(signal.SIGCONT)


@dataclass
class Viewer:
    """A client that is cut off repeatedly, and reconnects with the last id."""

    url: str
    events: list[tuple[str, str, Any]] = field(default_factory=list)
    is_done: bool = False

    async def watch(self, http: httpx.AsyncClient) -> None:
        chance = random.Random(self.url)  # noqa: S311 - not a secret
        while not self.is_done:
            last = self.events[-1][0] if self.events else "-1"
            headers = {"Last-Event-ID": last}
            try:
                async with (
                    asyncio.timeout(chance.uniform(0.3, 4)),
                    http.stream("GET", self.url, headers=headers) as response,
                ):
                    await self._read(response)
            except (TimeoutError, httpx.HTTPError):
                await asyncio.sleep(0.05)

    async def _read(self, response: httpx.Response) -> None:
        event: dict[str, str] = {}
        async for line in response.aiter_lines():
            name, _, value = line.partition(": ")
            event[name] = value
            if line or "event" not in event:
                continue
            data = json.loads(event["data"])
            self.events.append((event["id"], event["event"], data))
            self.is_done |= event["event"] == "end"
            event = {}

    @property
    def ticks(self) -> list[int]:
        return [data["tick"] for _, name, data in self.events if name == "custom"]

    @property
    def attempts(self) -> list[list[int]]:
        """The ticks of each attempt, in order."""
        found: list[list[int]] = []
        for _, name, data in self.events:
            if name == "metadata":
                found.append([])
            elif name == "custom":
                found[-1].append(data["tick"])
        return found

    @property
    def is_in_order(self) -> bool:
        numbers = [tuple(map(int, id.split("-"))) for id, _, _ in self.events]
        return all(one < other for one, other in pairwise(numbers))


def start(company: Company) -> Run:
    return company.run(
        "ticking",
        input={"count": TICKS, "delay": 0.1},
        stream_mode=["custom"],
        stream_resumable=True,
    )


async def storm(
    company: Company, how_many: int, *hurts: Callable[[Company], None]
) -> list[Viewer]:
    company.hire()
    run = start(company)
    url = f"{company.server.url}{run.path}/stream"
    viewers = [Viewer(url) for _ in range(how_many)]
    limits = httpx.Limits(max_connections=how_many)
    async with httpx.AsyncClient(timeout=WAIT_SECS, limits=limits) as http:
        watching = [asyncio.create_task(one.watch(http)) for one in viewers]
        # Wait until a worker has the run, and is in the middle of it.
        await asyncio.to_thread(wait_until, lambda: any(one.ticks for one in viewers))
        for hurt in hurts:
            await asyncio.sleep(1.5)
            await asyncio.to_thread(hurt, company)
        async with asyncio.timeout(2 * WAIT_SECS):
            await asyncio.gather(*watching)
    return viewers


async def test_no_event_is_lost_with_redis(company: Company) -> None:
    viewers = await storm(company, 5, die)

    assert [one.ticks for one in viewers] == [list(range(TICKS))] * 5


@pytest.mark.long
@pytest.mark.parametrize("hurt", [forget, die, hang, be_full])
async def test_no_viewer_of_many_misses_an_event(company: Company, hurt: Any) -> None:
    viewers = await storm(company, VIEWERS, hurt)

    assert [one.ticks for one in viewers] == [list(range(TICKS))] * VIEWERS
    assert all(one.is_in_order for one in viewers)


@pytest.mark.long
async def test_no_viewer_misses_an_event_in_any_of_several_faults(
    company: Company,
) -> None:
    viewers = await storm(company, VIEWERS, forget, die, be_full, hang)

    assert [one.ticks for one in viewers] == [list(range(TICKS))] * VIEWERS
    names = {name for one in viewers for _, name, _ in one.events}
    assert names == {"metadata", "custom", "end"}


@pytest.mark.long
@pytest.mark.parametrize("hurt", [lose_worker, stop_worker])
async def test_no_viewer_misses_an_event_of_any_attempt(
    company: Company, hurt: Any
) -> None:
    viewers = await storm(company, VIEWERS, hurt)

    # All viewers get the same events, and can see where the second attempt begins.
    assert [one.events for one in viewers] == [viewers[0].events] * VIEWERS
    assert viewers[0].is_in_order
    first, second = viewers[0].attempts
    assert first == list(range(len(first)))
    assert 0 < len(first) < TICKS
    assert second == list(range(TICKS))


@pytest.mark.long
async def test_viewers_are_told_of_events_beyond_the_bound(company: Company) -> None:
    company.hire(STREAM_BUFFER_BYTES=str(2**16))
    run = company.run(
        "ticking",
        # About 200 KB, so that the first ones are not kept.
        input={"count": 4000, "delay": 0.001},
        stream_mode=["custom"],
        stream_resumable=True,
    )
    url = f"{company.server.url}{run.path}/stream"
    early, late = Viewer(url), Viewer(url)
    async with httpx.AsyncClient(timeout=WAIT_SECS) as http:
        watching = asyncio.create_task(early.watch(http))
        await asyncio.to_thread(wait_until, lambda: len(early.ticks) > 3000)
        await asyncio.to_thread(forget, company)
        async with asyncio.timeout(WAIT_SECS):
            await watching
            await late.watch(http)

    assert early.ticks == list(range(4000))
    (gap,) = (place for place, event in enumerate(late.events) if event[1] == "gap")
    told = late.events[gap][2]
    # The gap begins after the last event before it, and ends before the next one.
    assert (told["from"], told["to"]) == (
        late.events[gap - 1][0] if gap else "0-0",
        late.events[gap][0],
    )
    assert late.ticks == list(range(4000))[-len(late.ticks) :]
    assert 0 < len(late.ticks) < 4000


def test_viewers_see_that_a_run_goes_on_in_another_attempt(
    company: Company, file: Path
) -> None:
    company.hire()
    let_go = hold(file, "2")
    run = company.run(
        "steps", input={"file": str(file), "delay": 0}, stream_resumable=True
    )
    wait_until(lambda: has_begun(file, "2"))

    company.replace()
    let_go()
    headers = {"Last-Event-ID": "-1"}
    params = {"stream_mode": "values"}
    seen = company.http.get(f"{run.path}/stream", headers=headers, params=params)

    events = parse(seen.text)
    told = [e.data["attempt"] for e in events if e.name == "metadata"]
    assert told == [2]
    assert events[-1].name == "end"


def test_a_worker_that_wakes_up_late_tells_a_new_thread_nothing(
    company: Company,
) -> None:
    [worker] = company.hire()
    run = start(company)
    with company.http.stream("GET", f"{run.path}/stream") as response:
        next(response.iter_text())
    worker.send(signal.SIGSTOP)

    company.http.delete(run.thread_path).raise_for_status()
    again = company.http.post("/threads", json={"thread_id": run.thread_id})
    again.raise_for_status()
    seen: list[str] = []
    with company.http.stream("GET", f"{run.thread_path}/stream") as response:
        worker.send(signal.SIGCONT)
        beats = response.iter_text()
        while sum("heartbeat" in text for text in seen) < 3:
            seen.append(next(beats))

    assert not any("tick" in text or "event:" in text for text in seen)
