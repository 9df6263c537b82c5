from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import httpx
import pytest
from django.conf import LazySettings

from spool.tests.live import WAIT_SECS
from spool.web.guards import HEADERS_MAX_BYTES, Gate
from spool.web.http_protocol import HEAD_MAX_BYTES, BoundedHead
from spool.web.tests.serving import serving

OUTSIDE = ("192.0.2.7", 8123)


async def app(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"inside"})


async def ask(server: Any, **more: Any) -> list[Any]:
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "server": server, "headers": [], **more}
    await Gate(app)(scope, receive, send)
    return sent


@pytest.mark.parametrize(
    ("server", "status"),
    [
        (OUTSIDE, 403),
        (("2001:db8::7", 8123), 403),
        (("::ffff:192.0.2.7", 8123), 403),
        (("127.0.0.1", 8123), 200),
        (("::1", 8123), 200),
        (("::ffff:127.0.0.1", 8123), 200),
        (("/run/spool.sock", None), 200),
        (None, 200),
    ],
)
async def test_an_open_server_answers_this_machine_alone(
    server: Any, status: int
) -> None:
    assert (await ask(server))[0]["status"] == status


async def test_an_open_server_says_what_to_do() -> None:
    body = (await ask(OUTSIDE))[1]["body"]

    assert b"SPOOL_AUTH" in body


async def test_an_open_server_refuses_sockets_as_well() -> None:
    assert (await ask(OUTSIDE, type="websocket"))[0]["code"] == 4403


@pytest.mark.parametrize("setting", [{"AUTH": ["api_key"]}, {"ALLOW_OPEN": True}])
async def test_another_host_answers_all(
    settings: LazySettings, setting: dict[str, Any]
) -> None:
    for name, value in setting.items():
        setattr(settings, name, value)

    assert (await ask(OUTSIDE))[0]["status"] == 200


HERE = ("127.0.0.1", 8123)


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost:8123", 200),
        ("127.0.0.1", 200),
        ("[::1]:8123", 200),
        ("app.localhost:8123", 200),
        ("named.example:8123", 200),
        ("spool.example.com", 200),
        ("rebound.example:8123", 403),
        ("192.0.2.7:8123", 403),
        ("not a host", 403),
    ],
)
async def test_an_open_server_on_loopback_takes_its_own_names(
    settings: LazySettings, host: str, status: int
) -> None:
    settings.NAMED_HOSTS = ["named.example"]
    settings.PUBLIC_URL = "https://spool.example.com"

    answer = await ask(HERE, headers=[(b"host", host.encode())])

    assert answer[0]["status"] == status


async def test_elsewhere_allowed_hosts_alone_decide(settings: LazySettings) -> None:
    settings.HOST = "0.0.0.0"  # noqa: S104 - it listens nowhere
    settings.ALLOW_OPEN = True

    answer = await ask(HERE, headers=[(b"host", b"inside.example")])

    assert answer[0]["status"] == 200


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        (b"http://localhost:3000", 200),
        (b"https://chat.example", 403),
        (b"null", 403),
    ],
)
async def test_an_open_server_does_nothing_for_pages_of_others(
    origin: bytes, status: int
) -> None:
    """Browsers send some requests without a preflight."""
    headers = [(b"host", b"localhost:8123"), (b"origin", origin)]

    assert (await ask(HERE, headers=headers))[0]["status"] == status


async def test_a_servers_own_pages_may_call_it(settings: LazySettings) -> None:
    settings.HOST = "0.0.0.0"  # noqa: S104 - it listens nowhere
    settings.ALLOW_OPEN = True
    headers = [(b"host", b"10.0.0.5:8123"), (b"origin", b"http://10.0.0.5:8123")]

    assert (await ask(OUTSIDE, headers=headers))[0]["status"] == 200


@pytest.mark.parametrize(
    "headers",
    [
        [(b"x-one", b"x" * HEADERS_MAX_BYTES)],
        [(f"x-{number}".encode(), b"x" * 90) for number in range(800)],
    ],
    ids=["long", "many"],
)
async def test_headers_have_an_end(headers: Any) -> None:
    few = [(b"authorization", b"x" * 8000), (b"cookie", b"x" * 8000)]

    assert (await ask(None, headers=headers))[0]["status"] == 431
    assert (await ask(None, headers=few))[0]["status"] == 200


@pytest.fixture
def address() -> Iterator[tuple[str, int]]:
    """The address of uvicorn with our protocol, in a thread."""
    with serving(app, http=BoundedHead, lifespan="off") as server:
        yield server.address


def bytes_taken(connection: socket.socket, chunk: bytes, at_most: int) -> int:
    sent = 0
    with suppress(ConnectionError):
        while sent < at_most:
            connection.sendall(chunk)
            sent += len(chunk)
    return sent


@pytest.mark.parametrize("part", [b"x" * 2**16, b"x\r\nx-more: "])
def test_a_head_without_an_end_is_not_read_to_it(
    address: tuple[str, int], part: bytes
) -> None:
    chunk = part * (2**16 // len(part))
    with socket.create_connection(address) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nx-long: ")

        sent = bytes_taken(connection, chunk, at_most=200 * HEAD_MAX_BYTES)

    # Plus the data that was in transit.
    assert HEAD_MAX_BYTES // 2 < sent < 100 * HEAD_MAX_BYTES


def test_bodies_and_later_requests_are_not_counted(address: tuple[str, int]) -> None:
    host, port = address
    with httpx.Client(base_url=f"http://{host}:{port}", timeout=WAIT_SECS) as client:
        body = b"x" * (2 * HEAD_MAX_BYTES)
        answers = [client.post("/", content=body) for _ in range(3)]
        answers += [client.get("/", headers={"x": "y" * 60_000}) for _ in range(30)]

    assert {answer.text for answer in answers} == {"inside"}
