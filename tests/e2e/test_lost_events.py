"""Viewers that reconnect, while Redis dies, hangs, loses data or is full."""

from __future__ import annotations

import asyncio
import json
import random
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis

from spool.tests.company import Company, Run, has_begun
from spool.tests.compat.wire import parse
from spool.tests.live import wait_until

pytestmark = pytest.mark.e2e

TICKS = 100
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
    company.hire(BG_JOB_TIMEOUT_SECS="60")
    run = start(company)
    url = f"{company.server.url}{run.path}/stream"
    viewers = [Viewer(url) for _ in range(how_many)]
    limits = httpx.Limits(max_connections=how_many)
    async with httpx.AsyncClient(timeout=30, limits=limits) as http:
        watching = [asyncio.create_task(one.watch(http)) for one in viewers]
        for hurt in hurts:
            await asyncio.sleep(1.5)
            await asyncio.to_thread(hurt, company)
        async with asyncio.timeout(60):
            await asyncio.gather(*watching)
    return viewers


@pytest.mark.parametrize("hurt", [forget, die, hang, be_full])
async def test_no_event_is_lost_with_redis(company: Company, hurt: Any) -> None:
    viewers = await storm(company, 5, hurt)

    assert [one.ticks for one in viewers] == [list(range(TICKS))] * 5


@pytest.mark.long
async def test_no_viewer_of_many_misses_an_event(company: Company) -> None:
    viewers = await storm(company, 50, forget, die, be_full, hang)

    assert [one.ticks for one in viewers] == [list(range(TICKS))] * 50
    names = {name for one in viewers for _, name, _ in one.events}
    assert names == {"metadata", "custom", "end"}


def test_viewers_see_that_a_run_goes_on_in_another_attempt(
    company: Company, file: Path
) -> None:
    company.hire()
    run = company.run(
        "steps", input={"file": str(file), "delay": 0.4}, stream_resumable=True
    )
    wait_until(lambda: has_begun(file, "2"), 20)

    company.replace()
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
