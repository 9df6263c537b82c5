"""Timeouts for receiving a request, and limits of a body."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from django.conf import LazySettings
from rest_framework.exceptions import APIException
from rest_framework.test import APIClient

from spool.tests.live import WAIT_SECS
from spool.web.http_protocol import BoundedHead
from spool.web.limits import check_json
from spool.web.tests.serving import serving


async def app(scope: Any, receive: Any, send: Any) -> None:
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"inside"})


@pytest.fixture
def address(settings: LazySettings) -> Iterator[tuple[str, int]]:
    settings.REQUEST_HEAD_TIMEOUT_SECS = 0.5
    settings.REQUEST_BODY_TIMEOUT_SECS = 0.5
    with serving(app, http=BoundedHead, lifespan="off") as server:
        yield server.address


SLOW = {
    "nothing": b"",
    "half a head": b"GET / HTTP/1.1\r\nHost: x\r\n",
    "an empty line": b"\r\n",
    "no body": b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n",
    "a piece": b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n",
}
MORE = {
    "nothing": b"",
    "half a head": b"x-more: y\r\n",
    "an empty line": b"\r\n",
    "no body": b"x",
    "a piece": b"1\r\nx\r\n",
}


@pytest.mark.parametrize("kind", SLOW)
@pytest.mark.parametrize("goes_on", [False, True])
def test_what_does_not_arrive_in_time_is_closed(
    address: tuple[str, int], kind: str, goes_on: bool
) -> None:
    """Even if it is sent slowly, a few bytes at a time."""
    answer = b""
    with socket.create_connection(address) as connection:
        connection.sendall(SLOW[kind])
        connection.settimeout(0.1)
        deadline = time.monotonic() + WAIT_SECS
        while time.monotonic() < deadline:
            try:
                if not (part := connection.recv(1000)):
                    break
                answer += part
            except TimeoutError:
                if goes_on:
                    connection.sendall(MORE[kind])
            except ConnectionError:
                break

    assert time.monotonic() < deadline
    assert not answer or answer.startswith(b"HTTP/1.1 408 ")


def test_healthy_requests_are_served_meanwhile(
    address: tuple[str, int], settings: LazySettings
) -> None:
    settings.REQUEST_HEAD_TIMEOUT_SECS = settings.REQUEST_BODY_TIMEOUT_SECS = 2
    slow = [socket.create_connection(address) for _ in range(50)]
    for connection in slow:
        connection.sendall(SLOW["half a head"])

    host, port = address
    with httpx.Client(base_url=f"http://{host}:{port}", timeout=WAIT_SECS) as client:
        texts = []
        for _ in range(5):
            texts.append(client.post("/", content=b"x" * 100_000).text)
            time.sleep(0.5)  # Longer, together, than a head may take.
    for connection in slow:
        connection.close()

    assert texts == ["inside"] * 5


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"[" + b"{}," * 60 + b"{}]", 413),
        (b"[" + b"1," * 99 + b"1]", 413),
        (b"[" + b"1," * 80 + b"1]", None),
        (b'["' + b"[{," * 500 + b'"]', None),
        (b'["\\"' + b"[{," * 500 + b'\\\\"]', None),
        (b"[" * 11 + b"]" * 11, 422),
        (b"[" * 10 + b"]" * 10, None),
        (b"[" + b"[]," * 30 + b"[]]", None),
        (b'{"a": "x', None),
    ],
)
def test_values_and_depth_are_counted_before_they_are_made(
    settings: LazySettings, body: bytes, status: int | None
) -> None:
    settings.REQUEST_MAX_VALUES = 100
    settings.REQUEST_MAX_DEPTH = 10
    try:
        check_json(body)
        found = None
    except APIException as exc:
        found = exc.status_code

    assert found == status


@pytest.mark.django_db
def test_a_body_of_many_small_things_is_refused_at_once() -> None:
    body = '{"metadata": {"a": [' + "{}," * 8_000_000 + "{}]}}"

    answer = APIClient().generic(
        "POST", "/threads/search", body, content_type="application/json"
    )

    assert answer.status_code == 413
    assert "REQUEST_MAX_VALUES" in answer.json()["detail"]


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("post", "/threads", {}),
        ("post", "/assistants", {"graph_id": "echo"}),
        ("post", "/runs", {"assistant_id": "echo"}),
        ("post", "/runs/crons", {"assistant_id": "echo", "schedule": "@daily"}),
        ("put", "/store/items", {"namespace": ["a"], "key": "k", "value": {}}),
    ],
)
def test_metadata_has_a_limit_of_its_own(
    method: str, path: str, body: dict[str, Any]
) -> None:
    large = {**body, "metadata": {"label": "x" * 2**16}}

    answer = getattr(APIClient(), method)(path, large, format="json")

    assert answer.status_code == 422
    assert "METADATA_MAX_BYTES" in answer.json()["detail"]


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/assistants", {"graph_id": "echo"}),
        ("/runs", {"assistant_id": "echo"}),
        ("/runs/crons", {"assistant_id": "echo", "schedule": "@daily"}),
    ],
)
@pytest.mark.parametrize(
    ("key", "large"), [("metadata", {"label": "x" * 2**16}), ("tags", ["x" * 2**16])]
)
def test_what_a_thread_keeps_of_a_config_has_the_same_limit(
    path: str, body: dict[str, Any], key: str, large: object
) -> None:
    answer = APIClient().post(path, {**body, "config": {key: large}}, format="json")

    assert answer.status_code == 422
    assert answer.json()["detail"] == (
        f"config: {key}: must have at most 65536 bytes as JSON (METADATA_MAX_BYTES)"
    )


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("place", "setting"),
    [
        ({"namespace": ["n" * 2001], "key": "k"}, "STORE_NAMESPACE_MAX_BYTES"),
        ({"namespace": ["n"], "key": "k" * 2001}, "STORE_KEY_MAX_BYTES"),
    ],
)
def test_the_place_of_an_item_has_limits(place: dict[str, Any], setting: str) -> None:
    answer = APIClient().put("/store/items", {**place, "value": {}}, format="json")

    assert answer.status_code in (400, 422)
    assert setting in answer.text
