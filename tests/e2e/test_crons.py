"""Each slot of a cron fires once, whatever happens to beats and workers."""

from __future__ import annotations

import asyncio
import signal
import statistics
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from langgraph_sdk import get_client

from spool.tests.commands import start_program
from spool.tests.conftest import CONFIG
from spool.tests.live import WAIT_SECS, Server, serving, wait_until

pytestmark = pytest.mark.e2e

SECOND = timedelta(seconds=1)
EVERY_SECOND = "* * * * * *"


@pytest.fixture(scope="module")
def ticking() -> Iterator[Server]:
    """A separate server, not the one that tests share: these tests stop parts of it."""
    with serving(CONFIG) as server:
        yield server


@pytest.fixture
async def client(ticking: Server) -> AsyncIterator[Any]:
    async with get_client(url=ticking.url, timeout=WAIT_SECS) as client:
        yield client


class Watched:
    """A cron for every second, and the firings of its slots."""

    def __init__(self, client: Any, cron_id: str) -> None:
        self.client = client
        self.cron_id = cron_id

    async def firings(self) -> list[dict[str, Any]]:
        """The firings, oldest first."""
        path = f"/runs/crons/{self.cron_id}/firings?limit=1000"
        return list(reversed(await self.client.http.get(path)))

    async def until(
        self, condition: Any, seconds: float = WAIT_SECS
    ) -> list[dict[str, Any]]:
        async with asyncio.timeout(seconds):
            while not condition(firings := await self.firings()):
                await asyncio.sleep(0.1)
        return firings

    async def more(self, number: int) -> list[dict[str, Any]]:
        """Wait for this number of further firings."""
        wanted = len(await self.firings()) + number
        return await self.until(lambda firings: len(firings) >= wanted)

    async def stop(self) -> list[dict[str, Any]]:
        """Disable the cron, and wait for the end of every run."""
        await self.client.crons.update(self.cron_id, enabled=False)
        active = {"pending", "running"}
        return await self.until(
            lambda firings: not active & {one["status"] for one in firings}
        )


@asynccontextmanager
async def watched(client: Any, **options: Any) -> AsyncIterator[Watched]:
    cron = await client.crons.create(
        "echo", schedule=EVERY_SECOND, input={"messages": []}, **options
    )
    yield Watched(client, cron["cron_id"])
    await client.crons.delete(cron["cron_id"])


def assert_each_slot_once(firings: list[dict[str, Any]]) -> None:
    """Check that every slot between first and last has fired once, or was missed."""
    slots = [datetime.fromisoformat(one["slot"]) for one in firings]
    stands_for = [SECOND * (1 + one["missed"]) for one in firings]
    follows = [
        slot + took for slot, took in zip(slots[:-1], stands_for[:-1], strict=True)
    ]
    assert slots[1:] == follows
    assert len({one["run_id"] for one in firings}) == len(firings)
    assert {one["status"] for one in firings} == {"success"}


@contextmanager
def another(server: Server, log: Path, *arguments: str) -> Iterator[None]:
    """A second beat or worker, in addition to the server's own."""
    environment = server.environment()
    second = start_program(
        *arguments, environment=environment, output=log, is_quiet=True
    )
    try:
        yield
        assert second.poll() is None, log.read_text()
    finally:
        second.terminate()
        second.wait(WAIT_SECS)


async def test_a_cron_fires_on_time(client: Any) -> None:
    async with watched(client) as cron:
        await cron.more(5)
        firings = await cron.stop()

    assert_each_slot_once(firings)
    # A single firing may be late on a busy machine.
    assert statistics.median(one["lateness"] for one in firings) < 2


async def test_a_beat_that_is_killed_comes_back(client: Any, ticking: Server) -> None:
    async with watched(client) as cron:
        await cron.more(2)
        ticking.beat().kill()
        await cron.more(4)
        firings = await cron.stop()

    assert_each_slot_once(firings)


async def test_beat_stops_while_it_waits_for_postgres(
    client: Any, ticking: Server
) -> None:
    async with watched(client) as cron:
        await cron.more(2)
        with blocked(ticking, "django_celery_beat_periodictasks"):
            beat = ticking.beat()
            beat.terminate()
            wait_until(lambda: not beat.is_running())
        await cron.more(3)
        firings = await cron.stop()

    assert_each_slot_once(firings)


@contextmanager
def blocked(server: Server, table: str) -> Iterator[None]:
    """Lock a table, and wait until another connection waits for it."""
    waiting = (
        "SELECT 1 FROM pg_locks WHERE NOT granted AND relation = %s::regclass::oid"
    )
    with psycopg.connect(server.environment()["DATABASE_URL"]) as conn:
        conn.execute(f"LOCK TABLE {table}".encode())
        wait_until(lambda: conn.execute(waiting, [table]).fetchone())
        yield


async def test_two_beats_and_two_workers_fire_each_slot_once(
    client: Any, ticking: Server, tmp_path: Path
) -> None:
    with (
        another(ticking, tmp_path / "beat", "beat"),
        another(ticking, tmp_path / "worker", "worker", "-n", "another"),
    ):
        mark = {"metadata": {"test": "two beats"}, "on_run_completed": "keep"}
        async with watched(client, **mark) as cron:
            await cron.more(6)
            firings = await cron.stop()
    kept = await client.threads.search(metadata=mark["metadata"], limit=100)

    assert_each_slot_once(firings)
    # Every run belongs to a firing.
    assert {one["thread_id"] for one in kept} == {one["thread_id"] for one in firings}


@pytest.mark.long
async def test_a_worker_that_was_away_for_a_minute_fires_once_for_what_it_missed(
    client: Any, ticking: Server
) -> None:
    async with watched(client) as cron:
        await cron.more(2)
        worker = ticking.worker()
        worker.send_signal(signal.SIGSTOP)
        await asyncio.sleep(60)
        worker.send_signal(signal.SIGCONT)
        await cron.more(3)
        firings = await cron.stop()

    assert_each_slot_once(firings)
    assert max(one["missed"] for one in firings) >= 50


async def test_a_worker_that_is_killed_loses_no_slot(
    client: Any, ticking: Server
) -> None:
    async with watched(client) as cron:
        for _ in range(2):
            await cron.more(2)
            ticking.worker().kill()
        await cron.more(3)
        firings = await cron.stop()

    assert_each_slot_once(firings)
