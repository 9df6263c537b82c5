"""Fixtures of the tests with the official clients."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from typing import Any

import httpx
import pytest
from langgraph_sdk import get_client, get_sync_client

from spool.tests.compat.javascript import install
from spool.tests.compat.runs import Runs
from spool.tests.compat.test_javascript import FOLDER
from spool.tests.live import WAIT_SECS, Server


@pytest.fixture(scope="session")
def javascript_client() -> None:
    install(FOLDER)


@pytest.fixture
async def http(server: Server) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=server.url, timeout=WAIT_SECS) as http:
        yield http


@pytest.fixture
def sync_http(server: Server) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=WAIT_SECS) as http:
        yield http


@pytest.fixture
def runs(sync_http: httpx.Client) -> Runs:
    """Runs of a new thread."""
    return Runs(sync_http, sync_http.post("/threads", json={}).json()["thread_id"])


@pytest.fixture
def stateless(sync_http: httpx.Client) -> Runs:
    return Runs(sync_http, None)


class Awaited:
    """The synchronous client, with the asynchronous client's methods."""

    def __init__(self, resource: Any) -> None:
        self.resource = resource

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.resource, name)
        if not inspect.ismethod(found):
            return Awaited(found)

        async def call(*args: Any, **kwargs: Any) -> Any:
            return await asyncio.to_thread(found, *args, **kwargs)

        return call


@pytest.fixture(params=["asynchronous", "synchronous"])
async def client(server: Server, request: pytest.FixtureRequest) -> AsyncIterator[Any]:
    with ExitStack() as stack:
        if request.param == "synchronous":
            yield Awaited(stack.enter_context(get_sync_client(url=server.url)))
            return
        async with get_client(url=server.url) as client:
            yield client


@pytest.fixture
async def thread_id(client: Any) -> str:
    return str((await client.threads.create())["thread_id"])
