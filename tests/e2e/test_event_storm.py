"""Event streams that are cut at random, while worker, web and Valkey are killed."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from uuid import uuid4

import aiohttp
import pytest

from spool.tests.company import Company
from spool.tests.e2e.event_clients import Client, check, check_same, start, until
from spool.tests.live import wait_until

pytestmark = pytest.mark.e2e

TRANSPORTS = ("sse", "websocket")

Hurt = Callable[[Company], None]


def kill_worker(company: Company) -> None:
    company.replace(**WORKER)


def kill_web(company: Company) -> None:
    web = company.server.web()
    web.kill()
    wait_until(lambda: not web.is_running(), 20)
    company.server.wait_until_ready()


def kill_valkey(company: Company) -> None:
    [valkey] = company.servers("valkey")
    valkey.kill()


WORKER = {"BG_JOB_TIMEOUT_SECS": "120", "N_JOBS_PER_WORKER": "50"}


async def storm(
    company: Company, *hurts: Hurt, threads: int, each: int, count: int
) -> list[Client]:
    """Streams of `threads` runs, `each` of both transports, and a hurt after another.

    Each hurt begins once all streams have received something since the one before.
    """
    company.hire(**WORKER)
    url, chance = company.server.url, random.Random(18)  # noqa: S311 - not a secret
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=5)
    connector = aiohttp.TCPConnector(limit=0, force_close=True)
    async with aiohttp.ClientSession(timeout=timeout, connector=connector) as session:
        clients = []
        for thread_id in (str(uuid4()) for _ in range(threads)):
            given = {"count": count, "delay": 0.1}
            run_id = await start(session, url, thread_id, given)
            for transport in TRANSPORTS * each:
                own = random.Random(chance.random())  # noqa: S311
                clients.append(Client([url], thread_id, run_id, transport, own))
        async with asyncio.TaskGroup() as watching:
            for client in clients:
                watching.create_task(client.watch(session))
            for hurt in hurts:
                await _have_more(clients)
                await asyncio.to_thread(hurt, company)
            await until(lambda: [one for one in clients if not one.is_done])
    return clients


async def _have_more(clients: list[Client]) -> None:
    seen = [(client, len(client.events) + 3) for client in clients]
    await until(
        lambda: [
            one for one, count in seen if not one.is_done and len(one.events) < count
        ]
    )


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
