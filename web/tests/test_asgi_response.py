"""Views whose response an ASGI application produces, under uvicorn and Django."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator

import httpx
import pytest
from django.conf import LazySettings
from django.test import Client, override_settings
from pytest_django import DjangoDbBlocker

from spool.access.tests.people import streamed
from spool.tests.live import WAIT_SECS
from spool.web.handler import Application
from spool.web.tests.serving import Server, serving
from spool.web.tests.urls import app_events
from spool.web.thread_pool import database_threads


@pytest.fixture(scope="module")
def server(
    django_db_setup: None, django_db_blocker: DjangoDbBlocker
) -> Iterator[Server]:
    routes = override_settings(ROOT_URLCONF="spool.web.tests.urls", WEB_THREADS=2)
    with django_db_blocker.unblock(), routes:
        database_threads.close()  # Other tests may have started more of them.
        with serving(Application(), lifespan="on") as server:
            yield server
    database_threads.close()


@pytest.fixture
async def client(server: Server) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=server.url, timeout=WAIT_SECS) as client:
        yield client


async def next_event() -> str:
    return await asyncio.to_thread(app_events.get, timeout=WAIT_SECS)


async def test_the_application_answers(client: httpx.AsyncClient) -> None:
    body = b"x" * (3 * 2**20)

    response = await client.post("/t/app", content=body)

    assert response.status_code == 207
    assert response.content == body + b"!"
    assert response.headers["content-type"] == "text/plain"
    assert "content-length" not in response.headers


async def test_it_has_the_headers_of_middleware(client: httpx.AsyncClient) -> None:
    headers = {"origin": "http://127.0.0.1", "x-request-id": "mine"}

    response = await client.post("/t/app", headers=headers)

    assert response.headers["x-request-id"] == "mine"
    assert response.headers["cache-control"] == "no-store"
    assert "access-control-allow-origin" in response.headers
    assert "X-One" in response.headers["vary"]


async def test_middleware_refuses_before_it(
    client: httpx.AsyncClient, settings: LazySettings
) -> None:
    settings.REQUEST_MAX_BYTES = 10
    assert (await client.post("/t/app", content=b"x" * 11)).status_code == 413

    assert (await client.get("/t/app")).status_code == 405


async def test_one_that_fails_at_once_is_a_500_that_says_nothing(
    client: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    response = await client.post("/t/app?then=fail early")

    assert response.status_code == 500
    assert response.json() == {"detail": "Internal Server Error"}
    errors = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert [record.name for record in errors] == ["spool.web.asgi_response"]


@pytest.mark.parametrize("then", ["fail late", "stop"])
async def test_an_answer_without_an_end_is_cut(
    client: httpx.AsyncClient, then: str
) -> None:
    with pytest.raises(httpx.RemoteProtocolError):
        await client.post(f"/t/app?then={then}", content=b"half")


@pytest.mark.parametrize(
    ("then", "event"), [("wait", "cancelled"), ("stay", "http.disconnect")]
)
async def test_a_client_that_leaves(
    client: httpx.AsyncClient, then: str, event: str
) -> None:
    """The application is cancelled, or receives `http.disconnect`."""
    asking = client.stream("POST", f"/t/app?then={then}", content=b"half")
    async with asking as response:
        assert await anext(response.aiter_raw()) == b"half"

    assert await next_event() == event


def test_djangos_test_client_gets_the_body(settings: LazySettings) -> None:
    settings.ROOT_URLCONF = "spool.web.tests.urls"

    response = Client().post("/t/app", b"hello", content_type="text/plain")

    assert streamed(response) == "hello!"
