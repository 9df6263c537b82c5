"""The transport of `get_client()` without a URL, between two event loops."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import Any

import httpx
import pytest
from langgraph_sdk import get_client
from langgraph_sdk._async import client as client_module

from spool.tests.live import WAIT_SECS, wait_until
from spool.web import inside
from spool.web.inside import ORIGIN, SYSTEM, OfRun, TooManyWaiting, Transport

START: dict[str, Any] = {"type": "http.response.start", "status": 200, "headers": []}
SECRET: ContextVar[str] = ContextVar("secret", default="not seen")


def part(body: bytes, *, more: bool = True) -> dict[str, Any]:
    return {"type": "http.response.body", "body": body, "more_body": more}


class App:
    """Sends parts until its caller leaves, and records that."""

    def __init__(self, parts: int = 1) -> None:
        self.parts = parts
        self.sent = 0
        self.scope: Any = None
        self.body = b""
        self.context = ""
        self.is_left = threading.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.scope, self.context = scope, SECRET.get()
        self.body = (await receive())["body"]
        await send(START)
        try:
            for _ in range(self.parts):
                await send(part(b"part"))
                self.sent += 1
            await receive()
        finally:
            self.is_left.set()


class Ticking(App):
    """Sends a heartbeat from time to time, as streams do."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        try:
            await send(START)
            while True:
                await asyncio.sleep(0.01)
                await send(part(b":"))
        finally:
            self.is_left.set()


@asynccontextmanager
async def client_of(app: Any) -> AsyncIterator[httpx.AsyncClient]:
    transport = Transport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://api") as client:
        yield client


async def test_parts_arrive_while_the_response_goes_on() -> None:
    app = App()

    async with client_of(app) as client, client.stream("GET", "/") as response:
        first = await anext(response.aiter_bytes())
        is_left = app.is_left.is_set()

    assert (first, is_left) == (b"part", False)
    assert app.is_left.wait(WAIT_SECS)


async def test_a_slow_caller_holds_the_application_up() -> None:
    app = App(parts=1000)

    async with client_of(app) as client, client.stream("GET", "/") as response:
        parts = response.aiter_raw()
        for number in (1, 2):
            await anext(parts)
            ahead = number + inside.MAX_QUEUED
            await asyncio.to_thread(wait_until, lambda: app.sent == ahead)  # noqa: B023

    assert app.is_left.wait(WAIT_SECS)
    assert app.sent == 2 + inside.MAX_QUEUED


def test_the_end_of_the_callers_loop_ends_the_response() -> None:
    app = Ticking()

    async def leave() -> None:
        await Transport(app).handle_async_request(httpx.Request("GET", "http://api/"))

    asyncio.run(leave())

    assert app.is_left.wait(WAIT_SECS)


async def test_a_failure_in_mid_stream_is_no_clean_end() -> None:
    async def breaks(scope: Any, receive: Any, send: Any) -> None:
        await send(START)
        await send(part(b"part"))
        raise ValueError("broken")

    async with client_of(breaks) as client:
        with pytest.raises(httpx.ReadError, match="ValueError"):
            await client.get("/")


async def test_an_application_that_is_silent_times_out() -> None:
    async def silent(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await receive()

    async with client_of(silent) as client:
        with pytest.raises(httpx.ReadTimeout):
            await client.get("/", timeout=0.01)


async def test_the_application_gets_the_request_and_who_acts() -> None:
    async def answers(scope: Any, receive: Any, send: Any) -> None:
        seen.update(scope, body=(await receive())["body"], secret=SECRET.get())
        await send({**START, "status": 201, "headers": [(b"x-one", b"1")]})
        await send(part(b"done", more=False))

    seen: dict[str, Any] = {}
    SECRET.set("of the run that calls")
    with inside.acting(SYSTEM):
        async with client_of(answers) as client:
            response = await client.post(
                "/threads/a%2Fb?x=1", content=b"body", headers={ORIGIN: "forged"}
            )

    assert (response.status_code, response.text) == (201, "done")
    assert response.headers["x-one"] == "1"
    assert seen[ORIGIN] is SYSTEM
    assert (seen["path"], seen["raw_path"]) == ("/threads/a/b", b"/threads/a%2Fb")
    assert (seen["query_string"], seen["body"]) == (b"x=1", b"body")
    # LangGraph reads the config of the calling run from its context.
    assert seen["secret"] == "not seen"


async def test_a_run_that_may_not_wait_is_refused() -> None:
    def refuse() -> Any:
        raise TooManyWaiting("too many")

    app = App()
    run: Any = OfRun(None, None, None, None, refuse)  # type: ignore[arg-type]
    with inside.acting(run):
        async with client_of(app) as client:
            refused = await client.post("/runs/wait")
            async with client.stream("POST", "/runs") as allowed:
                pass

    assert (refused.status_code, refused.json()) == (429, {"detail": "too many"})
    assert allowed.status_code == 200


async def test_clients_are_not_kept() -> None:
    """A graph may create a client in each of its runs."""
    for _ in range(3):
        async with get_client() as client:
            transport = client.http.client._transport

    assert isinstance(transport, Transport)
    assert not vars(client_module)["_registered_transports"]
