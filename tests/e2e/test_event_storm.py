"""Event streams that are cut at random, while worker, web and Valkey are killed."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable

import pytest

from spool.tests.company import Company
from spool.tests.e2e.event_clients import (
    Client,
    check,
    check_same,
    have_more,
    storming,
)
from spool.tests.live import wait_until

pytestmark = pytest.mark.e2e

Hurt = Callable[[Company], None]


def kill_worker(company: Company) -> None:
    company.replace(**WORKER)


def kill_web(company: Company) -> None:
    web = company.server.web()
    web.kill()
    wait_until(lambda: not web.is_running())
    company.server.wait_until_ready()


def kill_valkey(company: Company) -> None:
    # Valkey may have just been killed.
    wait_until(lambda: company.servers("valkey"))
    [valkey] = company.servers("valkey")
    valkey.kill()


WORKER = {"N_JOBS_PER_WORKER": "50"}


async def storm(
    company: Company, *hurts: Hurt, threads: int, each: int, count: int
) -> list[Client]:
    """Stream `threads` runs, `each` with both transports, and cause several failures.

    Each failure begins once all streams have received something since the one before.
    """
    company.hire(**WORKER)
    urls = [company.server.url]
    async with storming(urls, threads=threads, each=each, count=count) as clients:
        for hurt in hurts:
            await have_more(clients)
            await asyncio.to_thread(hurt, company)
    return clients


def check_all(clients: list[Client], count: int) -> None:
    for client in clients:
        check(client.events, count)
    check_same(clients)


async def test_cut_streams_get_their_runs_events(company: Company) -> None:
    hurts = [kill_worker, kill_web, kill_valkey]

    clients = await storm(company, *hurts, threads=2, each=1, count=20)

    check_all(clients, 20)
    assert min(client.connections for client in clients) > 1


@pytest.mark.long
@pytest.mark.parametrize("wave", range(10))
async def test_a_thousand_streams_in_a_storm(company: Company, wave: int) -> None:
    hurts = [kill_worker, kill_web, kill_valkey, kill_worker, kill_valkey, kill_web]
    random.Random(wave).shuffle(hurts)  # noqa: S311

    clients = await storm(company, *hurts, threads=25, each=2, count=60)

    check_all(clients, 60)
