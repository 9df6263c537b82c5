"""The web process, as uvicorn runs it, and the same under Django's own handler."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
from collections.abc import AsyncIterator, Iterator
from typing import Any
from unittest.mock import patch

import httpx
import psycopg
import pytest
from django.conf import LazySettings
from django.core.asgi import get_asgi_application
from django.db import connections
from django.test import override_settings
from pytest_django import DjangoDbBlocker

from spool.database.loop import conninfo
from spool.tests.live import WAIT_SECS, wait_until
from spool.web.handler import Application
from spool.web.tests import urls
from spool.web.tests.serving import Server, serving
from spool.web.thread_pool import database_threads

FROM_OTHER_CONNECTIONS = (
    "FROM pg_stat_activity WHERE datname = current_database()"
    " AND pid <> pg_backend_pid()"
)
# Django warns that it consumes a synchronous iterator at once, as expected here.
PLAIN_DJANGO_WARNS = pytest.mark.filterwarnings(
    "ignore:StreamingHttpResponse must consume synchronous iterators"
)


@pytest.fixture(scope="module", autouse=True)
def _routes(
    django_db_setup: None, django_db_blocker: DjangoDbBlocker
) -> Iterator[None]:
    # Servers outlive the tests, which only read: no flush after each of them.
    routes = override_settings(ROOT_URLCONF="spool.web.tests.urls", WEB_THREADS=4)
    with django_db_blocker.unblock(), routes:
        database_threads.close()  # Other tests may have started more of them.
        yield
    database_threads.close()


@pytest.fixture(scope="module")
def spool(_routes: None) -> Iterator[Server]:
    with serving(Application(), lifespan="on") as server:
        yield server


@pytest.fixture
def plain_django(_routes: None) -> Iterator[Server]:
    # It has a thread for each concurrent request. Their connections come from a pool:
    # persistent ones would never be closed, and others would be as many as the threads.
    default = connections.settings["default"]
    options = default["OPTIONS"] | {"pool": {"min_size": 1, "max_size": 8}}
    with (
        patch.dict(default, CONN_MAX_AGE=0, OPTIONS=options),
        serving(get_asgi_application(), lifespan="off") as server,
    ):
        try:
            yield server
        finally:
            connections["default"].close_pool()  # type: ignore[attr-defined]


@pytest.fixture(params=["spool", "plain_django"])
def server(request: pytest.FixtureRequest) -> Server:
    found: Server = request.getfixturevalue(request.param)
    return found


@pytest.fixture
async def client(server: Server) -> AsyncIterator[httpx.AsyncClient]:
    async with new_client(server) as client:
        yield client


def new_client(server: Server) -> httpx.AsyncClient:
    limits = httpx.Limits(max_connections=256)
    return httpx.AsyncClient(base_url=server.url, limits=limits, timeout=WAIT_SECS)


def ask_postgres(query: str) -> list[Any]:
    """Query on a separate connection, because the test observes Django's."""
    with psycopg.connect(conninfo()) as connection:
        return connection.execute(query).fetchall()


def database_connections() -> int:
    return len(ask_postgres(f"SELECT pid {FROM_OTHER_CONNECTIONS}"))


async def test_a_large_body_arrives_whole(client: httpx.AsyncClient) -> None:
    body = b"x" * (5 * 2**20)

    response = await client.post("/t/size", content=body)

    assert response.json() == {"bytes": len(body)}


async def test_a_client_gone_before_its_body_is_no_error(
    client: httpx.AsyncClient, server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    _, writer = await asyncio.open_connection(*server.address)
    writer.write(b"POST /t/size HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\nabc")
    await writer.drain()
    writer.close()
    await writer.wait_closed()

    assert (await client.get("/ok")).status_code == 200
    assert [r for r in caplog.records if r.levelno >= logging.WARNING] == []


async def test_an_exception_is_a_500_that_says_nothing(
    client: httpx.AsyncClient,
) -> None:
    response = await client.get("/t/fails")

    assert response.status_code == 500
    assert response.json() == {"detail": "Internal Server Error"}


async def test_an_unknown_route_is_a_json_404(client: httpx.AsyncClient) -> None:
    response = await client.get("/t/nothing-here")

    assert response.status_code == 404
    assert response.json() == {"detail": "Not Found"}


async def test_a_query_that_is_not_utf8_is_a_400(server: Server) -> None:
    reader, writer = await asyncio.open_connection(*server.address)
    writer.write(b"GET /ok?a=\xff HTTP/1.1\r\nhost: x\r\n\r\n")
    status_line = await reader.readline()
    writer.close()
    await writer.wait_closed()

    assert status_line.startswith(b"HTTP/1.1 400")


async def test_streams_arrive_whole(client: httpx.AsyncClient) -> None:
    response = await client.get("/t/stream?chunks=200&size=10000")

    assert response.headers["content-type"] == "text/event-stream"
    numbers = [line.strip(".") for line in response.text.splitlines()]
    assert numbers == [str(number) for number in range(200)]
    assert len(response.content) == 200 * 10_001


@PLAIN_DJANGO_WARNS
async def test_synchronous_streams_arrive_whole(client: httpx.AsyncClient) -> None:
    response = await client.get("/t/sync-stream")

    assert response.text == "0\n1\n2\n"


async def test_a_client_gone_mid_stream_closes_the_iterator(
    client: httpx.AsyncClient,
) -> None:
    async with client.stream("GET", "/t/stream?then=wait") as response:
        assert await anext(response.aiter_lines()) == "0"
        assert not urls.stream_closed.is_set()

    assert await asyncio.to_thread(urls.stream_closed.wait, WAIT_SECS)


async def test_a_client_gone_before_the_first_byte_closes_the_iterator() -> None:
    urls.stream_closed.clear()
    path = {"path": "/t/stream", "query_string": b"chunks=0&then=wait"}
    request = {"type": "http", "method": "GET", "headers": [], **path}
    messages: list[Any] = [{"type": "http.request"}, {"type": "http.disconnect"}]

    async def receive() -> Any:
        return messages.pop(0)

    async def send(message: Any) -> None:
        raise OSError("gone")

    await Application()(request, receive, send)

    assert urls.stream_closed.is_set()


async def test_a_client_that_stops_reading_and_goes_closes_the_iterator(
    client: httpx.AsyncClient,
) -> None:
    # More than sockets buffer, so that the server is waiting to send.
    path = "/t/stream?chunks=4000&size=10000"
    async with client.stream("GET", path) as response:
        lines = response.aiter_lines()
        await anext(lines)
        await asyncio.sleep(0.3)
        assert not urls.stream_closed.is_set()

    assert await asyncio.to_thread(urls.stream_closed.wait, WAIT_SECS)


async def test_the_admin_asks_for_a_login(client: httpx.AsyncClient) -> None:
    login = await client.get("/admin/", follow_redirects=True)

    assert login.status_code == 200
    assert login.url.path == "/admin/login/"
    assert "csrfmiddlewaretoken" in login.text
    assert login.cookies["spool_csrf"]


@pytest.mark.django_db(transaction=True)
async def test_the_admin_takes_a_login(
    client: httpx.AsyncClient, admin_user: Any
) -> None:
    page = await client.get("/admin/login/")
    form = {
        "username": "admin",
        "password": "password",
        "csrfmiddlewaretoken": page.text.split('csrfmiddlewaretoken" value="')[1][:64],
        "next": "/admin/",
    }

    answer = await client.post("/admin/login/", data=form)
    home = await client.get("/admin/")

    assert answer.status_code == 302
    assert home.status_code == 200
    assert "Log out" in home.text


@PLAIN_DJANGO_WARNS
async def test_static_files_are_served(client: httpx.AsyncClient) -> None:
    response = await client.get("/static/admin/css/base.css")

    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/css")
    assert len(response.content) == int(response.headers["content-length"])


async def test_200_requests_in_parallel_get_answers(
    client: httpx.AsyncClient,
) -> None:
    answers = await asyncio.gather(*[client.get("/t/pid") for _ in range(200)])

    assert {answer.status_code for answer in answers} == {200}


async def test_a_body_in_pieces_arrives_whole(spool: Server) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield b'{"items": ['
        for _ in range(500):
            yield b'"' + b"x" * 8000 + b'",'
        yield b'"last"]}'

    async with new_client(spool) as client:
        response = await client.post("/t/parsed", content=pieces())

    assert response.json() == {"items": 501}


async def test_a_failure_mid_stream_cuts_the_connection(spool: Server) -> None:
    async with new_client(spool) as client:
        with pytest.raises(httpx.RemoteProtocolError):
            await client.get("/t/stream?then=fail")


async def test_a_body_over_the_limit_is_413(
    client: httpx.AsyncClient, settings: LazySettings
) -> None:
    settings.REQUEST_MAX_BYTES = 2000

    over = await client.post("/t/size", content=b"x" * 2001)
    fits = await client.post("/t/size", content=b"x" * 2000)

    assert over.status_code == 413
    assert over.json() == {"detail": "Request Entity Too Large"}
    assert fits.json() == {"bytes": 2000}


async def test_a_body_that_turns_out_over_the_limit_is_413(
    spool: Server, settings: LazySettings
) -> None:
    settings.REQUEST_MAX_BYTES = 2000

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(30):
            yield b"x" * 100

    async with new_client(spool) as client:
        response = await client.post("/t/size", content=pieces())

    assert response.status_code == 413
    assert "x-request-id" in response.headers
    assert response.json() == {"detail": "Request Entity Too Large"}


async def test_128_clients_share_a_few_database_connections(spool: Server) -> None:
    clients = [await asyncio.open_connection(*spool.address) for _ in range(128)]

    for _, writer in clients:
        writer.write(b"GET /t/pid HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
    answers = await asyncio.gather(*[reader.read() for reader, _ in clients])
    for _, writer in clients:
        writer.close()
        await writer.wait_closed()

    assert all(answer.startswith(b"HTTP/1.1 200 OK") for answer in answers)
    assert len({answer.split(b"\r\n\r\n")[1] for answer in answers}) <= 4


async def test_streams_hold_neither_threads_nor_connections(spool: Server) -> None:
    async with new_client(spool) as client:
        requests = [
            client.build_request("GET", "/t/stream?then=wait") for _ in range(40)
        ]
        streams = [await client.send(request, stream=True) for request in requests]

        answers = [await client.get("/t/pid") for _ in range(5)]
        backends = {answer.json()["pid"] for answer in answers}
        await asyncio.gather(*[stream.aclose() for stream in streams])

    assert {stream.status_code for stream in streams} == {200}
    assert {answer.status_code for answer in answers} == {200}
    assert len(backends) <= 4


async def test_an_open_stream_keeps_nothing_of_its_request(spool: Server) -> None:
    path = "/t/stream?then=wait"
    async with new_client(spool) as client, client.stream("GET", path) as response:
        assert await anext(response.aiter_lines()) == "0"
        gc.collect()

        assert not urls.stream_requests


async def test_connections_killed_while_idle_fail_no_request(spool: Server) -> None:
    async with new_client(spool) as client:
        await asyncio.gather(*[client.get("/t/pid") for _ in range(20)])
        kill = f"SELECT pg_terminate_backend(pid, 5000) {FROM_OTHER_CONNECTIONS}"
        killed = len(ask_postgres(kill))

        answers = await asyncio.gather(*[client.get("/t/pid") for _ in range(20)])

    assert killed >= 1
    assert {answer.status_code for answer in answers} == {200}


async def test_stopping_gives_the_connections_back() -> None:
    with serving(Application(), lifespan="on") as server:
        async with new_client(server) as client:
            await asyncio.gather(*[client.get("/t/pid") for _ in range(20)])
            serving_with = database_connections()

    wait_until(lambda: database_connections() < serving_with)


async def test_stopping_cuts_streams_instead_of_ending_them() -> None:
    with serving(Application(), lifespan="on") as server:
        async with (
            new_client(server) as client,
            client.stream("GET", "/t/stream?then=wait") as response,
        ):
            lines = response.aiter_lines()
            assert await anext(lines) == "0"

            stopping = asyncio.create_task(asyncio.to_thread(server.stop))

            with pytest.raises(httpx.RemoteProtocolError):
                await anext(lines)
            await stopping

    assert urls.stream_closed.is_set()


async def test_websockets_are_refused_with_their_close_code() -> None:
    sent: list[Any] = []
    application = Application()

    async def receive() -> dict[str, str]:
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        sent.append(message)

    await application({"type": "websocket", "path": "/x"}, receive, send)

    assert [message["type"] for message in sent] == [
        "websocket.accept",
        "websocket.close",
    ]
    assert sent[1]["code"] == 4404


async def test_requests_do_not_see_each_others_context(spool: Server) -> None:
    async with new_client(spool) as client:
        answers = await asyncio.gather(
            *[
                client.post("/t/parsed", content=json.dumps({"items": [1] * n}))
                for n in range(50)
            ]
        )

    assert [answer.json()["items"] for answer in answers] == list(range(50))
